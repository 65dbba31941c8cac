/* For test_wasm.py: asks the second of its arguments three times, and tells the first what became of it, and of other calls. */
#include "beamlike.h"

static uint8_t in[256], out[256];
static bl_header header;

static void tell(bl_pid whom, int64_t result, uint32_t kind) {
    bl_writer w = bl_write(out, sizeof out);
    bl_write_tuple(&w, 3);
    bl_write_int(&w, result);
    bl_write_int(&w, kind);
    bl_write_pid(&w, bl_self());
    bl_send(whom, out, bl_written(&w));
}

BL_EXPORT(main) int ask(void) {
    bl_reader args = bl_read(in, (uint32_t)bl_receive(&header, in, sizeof in, BL_FOREVER));
    if (bl_read_tuple(&args) != 2) return 1;
    bl_pid parent = bl_read_pid(&args), server = bl_read_pid(&args);
    static const char *requests[] = {"\245reply", "\245never", "\245crash"};
    for (int i = 0; i < 3; i++) {
        int32_t length = bl_call(server, requests[i], 6, &header, in, sizeof in, i == 1 ? 50 : BL_FOREVER);
        bl_reader r = bl_read(in, length < 0 ? 0 : (uint32_t)length);
        tell(parent, length < 0 ? length : header.kind == BL_ANSWER ? bl_read_int(&r) : 0, length < 0 ? 0 : header.kind);
    }
    int32_t small = bl_receive(&header, in, 1, BL_FOREVER);
    tell(parent, small, header.length);
    tell(parent, bl_receive(&header, in, sizeof in, 0), header.kind);
    tell(parent, bl_receive(&header, in, sizeof in, 1), 0);
    bl_send(BL_SELF, in, 1);
    tell(parent, bl_receive(&header, in, sizeof in, 0), header.kind);
    tell(parent, bl_send(parent, in, 501), 0);
    tell(parent, bl_now() > 0, 0);
    return 3;
}
