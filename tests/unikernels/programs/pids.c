/* Echoes, serves more than one pid, calls, monitors and waits: what its first item says, a message is (what, pid, value). */
#include "uk.h"

UK_INBOX(4 << 20);

static uint8_t out[4 << 20];
static struct { uk_pid pid; int64_t count; } counters[100];
static uint32_t many;

/* (what, pid) or (what, pid, value), to who has asked. */
static void tell(uk_pid to, const char *what, uk_pid pid, const void *value, uint32_t length) {
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, value == NULL ? 2 : 3);
    uk_write_str(&w, what, (uint32_t)strlen(what));
    uk_write_pid(&w, pid);
    uk_write_packed(&w, value, value == NULL ? 0 : length);
    if (uk_send(to, out, uk_written(&w)) < 0) uk_log("pids: too long");
}

/* A message to one of the others counts; a call of it is answered by how many there were. */
static void count(const uk_message *m) {
    for (uint32_t i = 0; i < many; i++) {
        if (counters[i].pid != m->to) continue;
        if (m->kind == UK_EXIT) counters[i].count = -1;
        if (m->kind == UK_MESSAGE) counters[i].count++;
        if (m->kind == UK_CALL) {
            uk_writer w = uk_write(out, sizeof out);
            uk_write_int(&w, counters[i].count);
            uk_reply(m->call, out, uk_written(&w));
        }
    }
}

void uk_main(void) {
    static uk_pid boss;
    uk_message m;
    uint32_t length;
    for (;;) {
        const int kind = uk_receive(&m, UK_FOREVER);
        uk_reader r = uk_read_message(&m);
        if (m.to != UK_SELF) {
            count(&m);
            continue;
        }
        if (kind == UK_CALL) { /* an echo */
            uk_reply(m.call, m.value, m.length);
            continue;
        }
        if (kind == UK_DOWN) {
            tell(boss, "down", UK_SELF, m.value, m.length);
            continue;
        }
        if (uk_read_tuple(&r) < 2 || uk_next(&r) != UK_STR) continue;
        const char *what = uk_read_str(&r, &length);
        const uk_pid pid = uk_read_pid(&r);
        if (r.failed) continue;
        if (uk_is(what, length, "echo")) tell(pid, "echo", UK_SELF, r.at, (uint32_t)(r.end - r.at));
        if (uk_is(what, length, "new") && many < 100) {
            counters[many].pid = uk_spawn();
            tell(pid, "new", counters[many++].pid, NULL, 0);
        }
        if (uk_is(what, length, "end")) uk_end(uk_read_pid(&r), "\xa4" "over", 5);
        if (uk_is(what, length, "killed")) {
            uk_writer w = uk_write(out + 4096, 16);
            uk_write_int(&w, counters[uk_read_int(&r)].count);
            tell(pid, "killed", UK_SELF, out + 4096, uk_written(&w));
        }
        if (uk_is(what, length, "monitor")) {
            boss = pid;
            uk_monitor(uk_read_pid(&r));
        }
        if (uk_is(what, length, "call")) { /* (what, whom, request, timeout_ms): whoever is called is told the outcome */
            uk_reader request = r;
            uk_skip(&r);
            const uint32_t bytes = (uint32_t)(r.at - request.at);
            const int outcome = uk_call(pid, request.at, bytes, &m, (int)uk_read_int(&r));
            if (outcome < 0)
                tell(pid, outcome == UK_TIMED_OUT ? "late" : "full", UK_SELF, NULL, 0);
            else
                tell(pid, outcome == UK_ANSWER ? "answer" : "none", UK_SELF, m.value, m.length);
        }
    }
}
