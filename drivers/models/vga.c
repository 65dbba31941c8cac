/* IBM, "PS/2 Hardware Interface Technical Reference: Video Subsystem" (1992), VGA function.

   Memory has four planes of 64 KiB: characters are in plane 0, attributes in 1, fonts in 2. Write mode 0 is there, without set/reset and
   rotation; chain 4, with which only graphics are done, is not. Reads show the beam at 70 Hz, as mode 3 has it. */
#include "bus.h"
#include "vga.h"

enum { BASE = 0xa0000, SIZE = 0x20000, PLANE = 0x10000 };
enum { FRAME = 14268000, LINE = 31778, SHOWN = 400, RETRACE = 412 }; /* nanoseconds, and lines of 449 */
enum { MAP_MASK = 2, MEMORY_MODE = 4 };                                  /* of the sequencer */
enum { READ_MAP = 4, GRAPHICS_MODE = 5, MISCELLANEOUS = 6, BIT_MASK = 8 }; /* of the graphics controller */
enum { PALETTE_ON = 0x20 };                                              /* of the attribute controller's index */

typedef struct vga {
    bl_device device;
    uint8_t miscellaneous, attribute_index, sequencer_index, graphics_index, crtc_index;
    uint8_t attributes[32], sequencer[8], graphics[16], crtc[32];
    int has_index;                  /* the next write to 0x3c0 is data */
    uint8_t dac[256][3], mask;
    unsigned dac_at, dac_part;      /* colour, and which of its three bytes comes next */
    int dac_reads;
    uint8_t latches[4];
    uint8_t planes[4][PLANE];
} vga;

static uint8_t status(vga *v) {
    const int64_t at = v->device.bus->now % FRAME, line = at / LINE;
    const int is_blank = line >= SHOWN || at % LINE > LINE * 4 / 5;
    v->has_index = 0;
    return (uint8_t)(is_blank | (line == RETRACE || line == RETRACE + 1) << 3);
}

static uint8_t dac_in(vga *v) {
    const uint8_t value = v->dac[v->dac_at][v->dac_part];
    if (++v->dac_part == 3) {
        v->dac_part = 0;
        v->dac_at = (v->dac_at + 1) & 255;
    }
    return value;
}

static void dac_out(vga *v, uint8_t value) {
    v->dac[v->dac_at][v->dac_part] = value & 63;
    if (++v->dac_part == 3) {
        v->dac_part = 0;
        v->dac_at = (v->dac_at + 1) & 255;
    }
}

static uint8_t in_byte(vga *v, unsigned port) {
    if (port >= 0x3d0 || port < 0x3c0) { /* these are there, or those for a monochrome monitor */
        if ((port >= 0x3d0) != (v->miscellaneous & 1)) return 0xff;
        switch (port & 15) {
            case 4: return v->crtc_index;
            case 5: return v->crtc[v->crtc_index];
            case 10: return status(v);
            default: return 0xff;
        }
    }
    switch (port) {
        case 0x3c0: return v->attribute_index;
        case 0x3c1: return v->attributes[v->attribute_index & 31];
        case 0x3c4: return v->sequencer_index;
        case 0x3c5: return v->sequencer[v->sequencer_index];
        case 0x3c6: return v->mask;
        case 0x3c7: return v->dac_reads ? 3 : 0;
        case 0x3c8: return (uint8_t)v->dac_at;
        case 0x3c9: return dac_in(v);
        case 0x3cc: return v->miscellaneous;
        case 0x3ce: return v->graphics_index;
        case 0x3cf: return v->graphics[v->graphics_index];
        default: return 0;
    }
}

static void attribute_out(vga *v, uint8_t value) {
    if (v->has_index) {
        const unsigned index = v->attribute_index & 31;
        if (index >= 16 || !(v->attribute_index & PALETTE_ON)) v->attributes[index] = value & 63; /* the palette is the screen's, or ours */
    } else v->attribute_index = value & 63;
    v->has_index = !v->has_index;
}

static void crtc_out(vga *v, uint8_t value) {
    const unsigned index = v->crtc_index;
    const int is_protected = v->crtc[0x11] & 0x80;
    if (is_protected && index == 7) v->crtc[7] = (uint8_t)((v->crtc[7] & ~0x10u) | (value & 0x10u));
    else if (!is_protected || index > 7) v->crtc[index] = value;
}

static void out_byte(vga *v, unsigned port, uint8_t value) {
    if (port >= 0x3d0 || port < 0x3c0) {
        if ((port >= 0x3d0) != (v->miscellaneous & 1)) return;
        if ((port & 15) == 4) v->crtc_index = value & 31;
        if ((port & 15) == 5) crtc_out(v, value);
        return;
    }
    switch (port) {
        case 0x3c0: attribute_out(v, value); break;
        case 0x3c2: v->miscellaneous = value; break;
        case 0x3c4: v->sequencer_index = value & 7; break;
        case 0x3c5: v->sequencer[v->sequencer_index] = value & (v->sequencer_index == 1 ? 0x3d : 0x3f); break;
        case 0x3c6: v->mask = value; break;
        case 0x3c7: case 0x3c8:
            v->dac_at = value;
            v->dac_part = 0;
            v->dac_reads = port == 0x3c7;
            break;
        case 0x3c9: dac_out(v, value); break;
        case 0x3ce: v->graphics_index = value & 15; break;
        case 0x3cf: v->graphics[v->graphics_index] = value; break;
    }
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    uint32_t value = 0;
    for (unsigned byte = 0; byte < width; byte++) value |= (uint32_t)in_byte((vga *)device, port + byte) << 8 * byte;
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    for (unsigned byte = 0; byte < width; byte++) out_byte((vga *)device, port + byte, (uint8_t)(value >> 8 * byte));
}

/* ---- memory ---- */

/* Where in the window of the memory map that is chosen, or -1: it does not answer there. */
static int64_t within(const vga *v, uint64_t offset) {
    static const struct { uint32_t first, size; } windows[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    const unsigned which = v->graphics[MISCELLANEOUS] >> 2 & 3;
    if (!(v->miscellaneous & 2) || offset < windows[which].first || offset - windows[which].first >= windows[which].size) return -1;
    return (int64_t)((offset - windows[which].first) & (PLANE - 1));
}

static uint8_t read_byte(vga *v, uint64_t offset) {
    const int64_t at = within(v, offset);
    if (at < 0) return 0xff;
    const int is_odd_even = v->graphics[GRAPHICS_MODE] & 0x10;
    const unsigned cell = is_odd_even ? (unsigned)at & ~1u : (unsigned)at;
    for (unsigned plane = 0; plane < 4; plane++) v->latches[plane] = v->planes[plane][cell];
    return v->latches[is_odd_even ? (v->graphics[READ_MAP] & 2u) | (at & 1) : v->graphics[READ_MAP] & 3u];
}

static void write_byte(vga *v, uint64_t offset, uint8_t value) {
    const int64_t at = within(v, offset);
    if (at < 0) return;
    const int is_odd_even = !(v->sequencer[MEMORY_MODE] & 4);
    const unsigned cell = is_odd_even ? (unsigned)at & ~1u : (unsigned)at;
    const uint8_t bits = v->graphics[BIT_MASK];
    for (unsigned plane = 0; plane < 4; plane++) {
        if (!(v->sequencer[MAP_MASK] >> plane & 1) || (is_odd_even && (plane & 1) != (at & 1))) continue;
        v->planes[plane][cell] = (uint8_t)((value & bits) | (v->latches[plane] & ~(unsigned)bits));
    }
}

static uint32_t read(bl_device *device, uint64_t offset, unsigned width) {
    uint32_t value = 0;
    for (unsigned byte = 0; byte < width; byte++) value |= (uint32_t)read_byte((vga *)device, offset + byte) << 8 * byte;
    return value;
}

static void write(bl_device *device, uint64_t offset, unsigned width, uint32_t value) {
    for (unsigned byte = 0; byte < width; byte++) write_byte((vga *)device, offset + byte, (uint8_t)(value >> 8 * byte));
}

/* ---- the host's side: what the monitor shows ---- */

static unsigned first_cell(const vga *v) { return v->crtc[0x0c] << 8 | v->crtc[0x0d]; }

void bl_vga_screen(bl_device *device, uint8_t *cells, uint32_t most, uint32_t *columns, uint32_t *rows) {
    const vga *v = (vga *)device;
    const int is_on = v->attribute_index & PALETTE_ON && !(v->sequencer[1] & 0x20) && v->sequencer[0] == 3 && v->crtc[0x17] & 0x80;
    const int is_text = !(v->graphics[MISCELLANEOUS] & 1);
    const unsigned lines = (v->crtc[0x12] | (v->crtc[7] & 2u) << 7 | (v->crtc[7] & 0x40u) << 3) + 1;
    *columns = is_on && is_text ? v->crtc[1] + 1u : 0;
    *rows = is_on && is_text ? lines / ((v->crtc[9] & 31) + 1u) : 0;
    if (*columns && *rows > most / *columns) *rows = most / *columns;
    for (uint32_t i = 0; i < *columns * *rows; i++) {
        const unsigned at = 2 * (first_cell(v) + i / *columns * v->crtc[0x13] * 2u + i % *columns) & (PLANE - 1);
        cells[2 * i] = v->planes[0][at];
        cells[2 * i + 1] = v->planes[1][at];
    }
}

int32_t bl_vga_cursor(bl_device *device) {
    const vga *v = (vga *)device;
    const unsigned first = v->crtc[0x0a] & 31, last = v->crtc[0x0b] & 31;
    if (v->crtc[0x0a] & 0x20 || first > last || first > (v->crtc[9] & 31)) return -1;
    return (int32_t)((v->crtc[0x0e] << 8 | v->crtc[0x0f]) - (int)first_cell(v));
}

uint32_t bl_vga_colour(bl_device *device, uint32_t colour) {
    const vga *v = (vga *)device;
    const uint8_t *found = v->dac[v->attributes[colour & 15] & v->mask];
    return (uint32_t)(found[0] << 16 | found[1] << 8 | found[2]);
}

uint32_t bl_vga_glyph(bl_device *device, uint32_t which, uint32_t line) {
    return line <= (((vga *)device)->crtc[9] & 31u) ? ((vga *)device)->planes[2][(which & 255) * 32 + line] : 0;
}

bl_device *bl_plug_vga(bl_bus *bus) {
    vga *v = bl_plug(bus, "vga", sizeof *v);
    if (v == NULL) return NULL;
    v->mask = 0xff;
    v->device.in = in;
    v->device.out = out;
    v->device.read = read;
    v->device.write = write;
    bl_claim(&v->device, 0x3b4, 0x3b5);
    bl_claim(&v->device, 0x3ba, 0x3ba);
    bl_claim(&v->device, 0x3c0, 0x3cf);
    bl_claim(&v->device, 0x3d4, 0x3d5);
    bl_claim(&v->device, 0x3da, 0x3da);
    bl_map(&v->device, BASE, SIZE);
    return &v->device;
}
