/* Sends every message (to, value) back to its pid, until it is ("stop",); a message (to, a, b) of numbers is answered with their sum. */
#include "beamlike.h"

static uint8_t in[65536], out[65536];

BL_EXPORT(main) void echo(void) {
    bl_header header;
    for (;;) {
        int32_t length = bl_receive(&header, in, sizeof in, BL_FOREVER);
        bl_reader r = bl_read(in, (uint32_t)length);
        bl_writer w = bl_write(out, sizeof out);
        uint32_t items = bl_read_tuple(&r);
        if (items == 1) return;
        if (items == 0) continue;
        bl_pid to = bl_read_pid(&r);
        if (items == 3)
            bl_write_int(&w, bl_read_int(&r) + bl_read_int(&r));
        else
            bl_put(&w, r.at, (uint32_t)(r.end - r.at));
        if (r.failed || w.failed)
            bl_log("echo: no message of mine\n", 25);
        else
            bl_send(to, out, bl_written(&w));
    }
}
