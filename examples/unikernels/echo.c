/* Sends every message back to the pid that is its first argument, and answers every call with the request. */
#include "uk.h"

void uk_main(void) {
    uk_message m;
    uk_receive(&m, UK_FOREVER); /* the arguments */
    uk_reader r = uk_read_message(&m);
    const uk_pid to = uk_read_tuple(&r) > 0 ? uk_read_pid(&r) : 0;
    for (;;) {
        const int kind = uk_receive(&m, UK_FOREVER);
        if (kind == UK_CALL) uk_reply(m.call, m.value, m.length);
        if (kind == UK_MESSAGE && to > 0) uk_send(to, m.value, m.length);
    }
}
