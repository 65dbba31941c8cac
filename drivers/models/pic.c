/* Intel 8259A data sheet (231468-003); Intel 82371AB (PIIX4) data sheet (290562-001), "Interrupt controller", "ELCR".

   An edge is latched while its line is high: one that falls before it is acknowledged is a spurious interrupt 7. What a line is, edge or
   level, is in the ELCR, and the bit for all of them in ICW1 has no effect, as in the PIIX4. The slave is on the master's line 2. */
#include "bus.h"
#include "pic.h"

enum { CASCADE = 2, SLAVE_LINES = 0xde, MASTER_LINES = 0xf8 }; /* those that may be level triggered */

typedef struct chip {
    uint8_t lines, latched, in_service, mask, level;
    uint8_t offset;
    unsigned lowest;      /* the line with the lowest priority */
    unsigned expects;     /* the initialisation word that is written next, 2 to 4; 0: none */
    int has_icw4, is_single;
    int auto_end, rotates, special_mask, nests_specially;
    int shows_service, polls;
} chip;

typedef struct pic {
    bl_device device;
    chip chips[2]; /* master, slave */
} pic;

static uint8_t requested(const chip *c) { return (uint8_t)((c->latched & ~c->level) | (c->lines & c->level)); }

static void set_line(chip *c, unsigned line, int level) {
    const uint8_t bit = (uint8_t)(1u << line);
    if (level && !(c->lines & bit)) c->latched |= bit;
    if (!level) c->latched &= (uint8_t)~bit;
    c->lines = (uint8_t)(level ? c->lines | bit : c->lines & ~bit);
}

/* The line that it would interrupt for; -1: none. */
static int wanted(const chip *c) {
    const unsigned blocked = c->in_service & (c->special_mask ? ~(unsigned)c->mask : ~0u), asking = requested(c) & ~c->mask;
    for (unsigned i = 1; i <= 8; i++) {
        const unsigned line = (c->lowest + i) & 7, bit = 1u << line;
        if (asking & bit && (!(blocked & bit) || (c->nests_specially && line == CASCADE))) return (int)line;
        if (blocked & bit) return -1;
    }
    return -1;
}

static void cascade(pic *p) { set_line(&p->chips[0], CASCADE, wanted(&p->chips[1]) >= 0); }

static void acknowledge(pic *p, chip *c, int line) {
    const uint8_t bit = (uint8_t)(1u << line);
    c->latched &= (uint8_t)~bit;
    if (!c->auto_end) c->in_service |= bit;
    else if (c->rotates) c->lowest = (unsigned)line;
    if (c == &p->chips[1]) set_line(&p->chips[0], CASCADE, 0); /* its output falls with each, so that the next is an edge */
    cascade(p);
}

static void end(chip *c, int line, int rotates) {
    if (line < 0) return;
    c->in_service &= (uint8_t)~(1u << line);
    if (rotates) c->lowest = (unsigned)line;
}

static int highest_in_service(const chip *c) {
    const unsigned served = c->in_service & (c->special_mask ? ~(unsigned)c->mask : ~0u);
    for (unsigned i = 1; i <= 8; i++)
        if (served >> ((c->lowest + i) & 7) & 1) return (int)((c->lowest + i) & 7);
    return -1;
}

static void command(chip *c, uint8_t value) {
    if (value & 0x10) { /* ICW1 */
        const chip kept = *c;
        *c = (chip){.lines = kept.lines, .level = kept.level, .offset = kept.offset};
        c->lowest = 7;
        c->expects = 2;
        c->has_icw4 = value & 1;
        c->is_single = value >> 1 & 1;
    } else if (value & 0x08) { /* OCW3 */
        if (value & 0x40) c->special_mask = value >> 5 & 1;
        if (value & 0x04) c->polls = 1;
        else if (value & 0x02) c->shows_service = value & 1;
    } else { /* OCW2 */
        const int line = value & 7;
        switch (value >> 5) {
            case 0: case 4: c->rotates = value >> 7; break;
            case 1: case 5: end(c, highest_in_service(c), value >> 7); break;
            case 3: case 7: end(c, line, value >> 7); break;
            case 6: c->lowest = (unsigned)line; break;
            default: break;
        }
    }
}

static void data(chip *c, uint8_t value) {
    switch (c->expects) {
        case 2:
            c->offset = value & 0xf8;
            c->expects = !c->is_single ? 3 : c->has_icw4 ? 4 : 0; /* a single one has no ICW3 */
            break;
        case 3: c->expects = c->has_icw4 ? 4 : 0; break;
        case 4:
            c->auto_end = value >> 1 & 1;
            c->nests_specially = value >> 4 & 1;
            c->expects = 0;
            break;
        default: c->mask = value;
    }
}

static uint8_t read(pic *p, uint16_t port) {
    if (port >> 1 == 0x4d0 >> 1) return p->chips[port & 1].level;
    chip *c = &p->chips[port >= 0xa0];
    if (c->polls) {
        const int line = wanted(c);
        c->polls = 0;
        if (line < 0) return 0;
        acknowledge(p, c, line);
        return (uint8_t)(0x80 | line);
    }
    if (port & 1) return c->mask;
    return c->shows_service ? c->in_service : requested(c);
}

static uint32_t in(bl_device *device, uint16_t port, unsigned width) {
    uint32_t value = 0;
    for (unsigned byte = 0; byte < width; byte++) value |= (uint32_t)read((pic *)device, (uint16_t)(port + byte)) << 8 * byte;
    return value;
}

static void out(bl_device *device, uint16_t port, unsigned width, uint32_t value) {
    pic *p = (pic *)device;
    for (unsigned byte = 0; byte < width; byte++, port++, value >>= 8) {
        chip *c = &p->chips[port >= 0xa0];
        if (port >> 1 == 0x4d0 >> 1) p->chips[port & 1].level = (uint8_t)(value & (port & 1 ? SLAVE_LINES : MASTER_LINES));
        else if (port & 1) data(c, (uint8_t)value);
        else command(c, (uint8_t)value);
    }
    cascade(p);
}

static void line_changed(bl_device *device, unsigned line, int level) {
    pic *p = (pic *)device;
    if (line >= 16 || line == CASCADE) return;
    set_line(&p->chips[line >> 3], line & 7, level);
    cascade(p);
}

int bl_pic_asks(bl_device *device) { return wanted(&((pic *)device)->chips[0]) >= 0; }

unsigned bl_pic_acknowledge(bl_device *device) {
    pic *p = (pic *)device;
    chip *c = &p->chips[0];
    int line = wanted(c);
    if (line >= 0) acknowledge(p, c, line);
    if (line == CASCADE) {
        c = &p->chips[1];
        line = wanted(c);
        if (line >= 0) acknowledge(p, c, line);
    }
    return c->offset + (line < 0 ? 7u : (unsigned)line);
}

void bl_pic_set_line(bl_device *device, unsigned line, int level) { bl_irq(device, line, level); }

bl_device *bl_plug_pic(bl_bus *bus) {
    pic *p = bl_plug(bus, "pic", sizeof *p);
    if (p == NULL) return NULL;
    for (unsigned i = 0; i < 2; i++) p->chips[i].lowest = 7;
    p->device.in = in;
    p->device.out = out;
    p->device.line = line_changed;
    for (unsigned line = 0; line < 16; line++)
        if (bus->holders[line]) line_changed(&p->device, line, 1);
    bl_claim(&p->device, 0x20, 0x21);
    bl_claim(&p->device, 0xa0, 0xa1);
    bl_claim(&p->device, 0x4d0, 0x4d1);
    return &p->device;
}
