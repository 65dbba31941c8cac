/* Sends numbers to the pid that is its first argument, for ever; with a second argument names a pid that it was never given, and goes on. */
#include "uk.h"

void uk_main(void) {
    uk_message m;
    uint8_t out[16];
    uk_receive(&m, UK_FOREVER);
    uk_reader r = uk_read_message(&m);
    const uint32_t items = uk_read_tuple(&r);
    const uk_pid to = uk_read_pid(&r);
    for (int64_t number = 0;; number++) {
        uk_writer w = uk_write(out, sizeof out);
        uk_write_int(&w, number);
        uk_send(items == 2 && number == 1 ? 9999 : to, out, uk_written(&w));
    }
}
