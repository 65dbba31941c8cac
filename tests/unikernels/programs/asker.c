/* Asks the second of its arguments three times, and tells the first what became of it, and of what else it did. */
#include "uk.h"

enum { TOO_MANY = (16 << 20) + 1 };

static uint8_t out[TOO_MANY];

static void tell(uk_pid whom, int outcome, int64_t value) {
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, 3);
    uk_write_int(&w, outcome);
    uk_write_int(&w, value);
    uk_write_pid(&w, uk_self());
    uk_send(whom, out, uk_written(&w));
}

void uk_main(void) {
    static const char *const requests[] = {"\245reply", "\245never", "\245crash"};
    uk_message m;
    uk_receive(&m, UK_FOREVER);
    uk_reader args = uk_read_message(&m);
    uk_read_tuple(&args);
    const uk_pid boss = uk_read_pid(&args), server = uk_read_pid(&args);
    for (int i = 0; i < 3; i++) {
        const int outcome = uk_call(server, requests[i], 6, &m, i == 1 ? 50 : UK_FOREVER);
        uk_reader answer = uk_read_message(&m);
        tell(boss, outcome, outcome == UK_ANSWER ? uk_read_int(&answer) : 0);
    }
    const int outcome = uk_receive(&m, UK_FOREVER);
    tell(boss, outcome, m.length);
    tell(boss, uk_receive(&m, 0), 0);
    tell(boss, uk_receive(&m, 1), 0);
    tell(boss, uk_send(UK_SELF, out, 1), 0);
    tell(boss, uk_call(UK_SELF, out, 1, &m, UK_FOREVER), 0);
    tell(boss, uk_send(boss, out, TOO_MANY), 0);
    tell(boss, uk_reply(1, out, TOO_MANY), 0);
    tell(boss, 0, uk_now() > 0);
    uk_exit(3);
}
