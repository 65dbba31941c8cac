/* A server that hashes: it answers a call with bytes or a str by its DJB2 hash, any other by nil. */
#include "beamlike.h"

static uint8_t in[65536], out[16];

static uint32_t djb2(const uint8_t *data, uint32_t length) {
    uint32_t hash = 5381;
    for (uint32_t i = 0; i < length; i++) hash = hash * 33 + data[i];
    return hash;
}

BL_EXPORT(main) void serve(void) {
    bl_header header;
    for (;;) {
        int32_t got = bl_receive(&header, in, sizeof in, BL_FOREVER);
        if (header.kind != BL_CALL) continue;
        bl_reader r = bl_read(in, (uint32_t)got);
        bl_writer w = bl_write(out, sizeof out);
        uint32_t length;
        uint8_t first = bl_next(&r);
        const uint8_t *data = first >= 0xc4 && first <= 0xc6 ? bl_read_bytes(&r, &length) : bl_read_str(&r, &length);
        if (data == NULL)
            bl_write_nil(&w);
        else
            bl_write_int(&w, djb2(data, length));
        bl_reply(header.call, out, bl_written(&w));
    }
}
