/* Answers with what the request is: (its uk_type, how many values are in a tuple, the uk_type of the first of them). */
#include "uk.h"

void uk_main(void) {
    uk_message m;
    uint8_t out[32];
    for (;;) {
        if (uk_receive(&m, UK_FOREVER) != UK_CALL) continue;
        uk_reader r = uk_read_message(&m);
        uk_writer w = uk_write(out, sizeof out);
        const uk_type type = uk_next(&r);
        const uint32_t items = type == UK_TUPLE ? uk_read_tuple(&r) : 0;
        uk_write_tuple(&w, 3);
        uk_write_int(&w, type);
        uk_write_int(&w, items);
        uk_write_int(&w, items > 0 ? (int64_t)uk_next(&r) : 0);
        uk_reply(m.call, out, uk_written(&w));
    }
}
