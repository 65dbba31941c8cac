/* A program as a cell of WebAssembly: the same functions, by what a cell imports (cells/inside/imports.py). */
#include "uk.h"

typedef struct header { /* as the host writes it */
    uint32_t kind, length;
    int64_t from;
    uint64_t call;
} header;

enum { TOO_SMALL = -2 };

#define IMPORT(name) __attribute__((import_module("beamlike"), import_name(#name)))

IMPORT(receive) int32_t host_receive(header *header, void *buffer, uint32_t capacity, int32_t timeout_ms);
IMPORT(send) int32_t host_send(int64_t to, const void *message, uint32_t length);
IMPORT(reply) int32_t host_reply(uint64_t call, const void *answer, uint32_t length);
IMPORT(call) int32_t host_call(int64_t to, const void *request, uint32_t length, header *header, void *buffer, uint32_t capacity,
                               int32_t timeout_ms);
IMPORT(log) void host_log(const void *text, uint32_t length);
IMPORT(now) int64_t host_now(void);
IMPORT(exit) _Noreturn void host_exit(int32_t status);

static uint8_t inbox[64 * 1024]; /* no message to a cell is longer, except for its arguments */

static int got(const header *h, int32_t outcome, uk_message *message) {
    if (outcome == TOO_SMALL) {
        uk_log("the arguments have more than 65536 bytes\n");
        uk_exit(1);
    }
    if (outcome < 0) return outcome;
    *message = (uk_message){h->kind, h->length, inbox, UK_SELF, h->call};
    return (int)h->kind;
}

int uk_receive(uk_message *message, int timeout_ms) {
    header h;
    const int32_t outcome = host_receive(&h, inbox, sizeof inbox, timeout_ms);
    return got(&h, outcome, message);
}

int uk_send(uk_pid to, const void *value, uint32_t length) {
    if (to < 0) return UK_NO_SUCH;
    return host_send(to, value, length);
}

int uk_reply(uint64_t call, const void *value, uint32_t length) { return host_reply(call, value, length); }

int uk_call(uk_pid to, const void *request, uint32_t length, uk_message *answer, int timeout_ms) {
    header h;
    if (to < 0) return UK_NO_SUCH;
    const int32_t outcome = host_call(to, request, length, &h, inbox, sizeof inbox, timeout_ms);
    return got(&h, outcome, answer);
}

uk_pid uk_self(void) { return UK_SELF; }
uk_pid uk_spawn(void) { return 0; }
void uk_end(uk_pid pid, const void *reason, uint32_t length) { (void)pid, (void)reason, (void)length; }

uint64_t uk_monitor(uk_pid pid) {
    (void)pid;
    return 0;
}

void uk_demonitor(uint64_t monitor) { (void)monitor; }

void uk_log(const char *text) { host_log(text, (uint32_t)strlen(text)); }
int64_t uk_now(void) { return host_now(); }
void uk_beat(void) {}
void uk_exit(int status) { host_exit(status); }

/* What a cell ends with is a status. */
void uk_stop(const void *reason, uint32_t length) {
    (void)reason, (void)length;
    host_exit(1);
}

__attribute__((export_name("main"))) void begin(void) { uk_main(); }
