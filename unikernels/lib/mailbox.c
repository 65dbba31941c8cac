/* The program's side of a mailbox: records in the rings of nodes/ring.h, as the gateway writes and reads them (cells/gateway.py). */
#include "plat.h"
#include "ring.h"
#include "uk.h"

/* Of nodes/kinds.py and cells/kinds.py. The kinds of uk.h are the same numbers. */
enum { SEND = 1, CALL = 3, REPLY = 5, EXIT = 6, MONITOR = 10, DEMONITOR = 12, DOWN = 13, ENDED = 65, OUTPUT = 66, READY = 69 };
enum { ME = 1, NOBODY = 0, STDERR = 2, BROKEN = 96, UK_KEEP = 64 * 1024, LOOK = 500 * 1000 /* ticks, as long as a node looks */ };

extern uint8_t uk_inbox[]; /* inbox.c */
extern const uint32_t uk_inbox_size;

static bl_writer out;
static bl_reader in;
static uk_boot *boot;
static uint64_t beats;      /* for boot->busy */
static uint64_t requests;   /* calls have even numbers, monitors odd ones */
static uk_pid last = ME;

/* What came while a call waited, first in first out: each is a uk_message and its value, padded to 8 bytes. */
static _Alignas(8) uint8_t kept[UK_KEEP];
static uint32_t kept_from, kept_to, given; /* `given`: bytes of the first, which uk_receive has given out */
static uk_message unkept;                  /* what had no room there, and is in the inbox; kind 0: nothing */

static uint32_t room_of(uint32_t length) { return (uint32_t)sizeof(uk_message) + ((length + 7) & ~7u); }

static int keep(const uk_message *m) {
    if (m->length > UK_KEEP || room_of(m->length) > UK_KEEP - (kept_to - kept_from)) return 0;
    if (room_of(m->length) > UK_KEEP - kept_to) {
        memmove(kept, kept + kept_from, kept_to - kept_from);
        kept_to -= kept_from;
        kept_from = 0;
    }
    memcpy(kept + kept_to, m, sizeof *m);
    memcpy(kept + kept_to + sizeof *m, m->value, m->length);
    kept_to += room_of(m->length);
    return 1;
}

/* What uk_receive has given out is not looked at any more. */
static void let_go(void) {
    kept_from += given;
    given = 0;
    if (kept_from == kept_to) kept_from = kept_to = 0;
}

/* The node is gone, or the memory is not what it was. */
static _Noreturn void broken(void) { plat_exit(BROKEN); }

static int put(uint8_t kind, uint64_t to, uint64_t from, uint64_t ref, const void *value, uint32_t length) {
    for (uint32_t offset = 0;;) {
        const int outcome = bl_write_part(&out, kind, 0, to, from, ref, value, length, &offset);
        if (outcome == 1) plat_ring();
        if (outcome >= 0 && offset == length) return 0;
        if (outcome == -BL_EMSGSIZE) return UK_TOO_LONG;
        if (outcome == -BL_EAGAIN) {
            const int is_room = bl_await_room(&out);
            if (is_room < 0) broken();
            if (!is_room) { /* the node is slow, and not we */
                const uint64_t busy = boot->busy;
                boot->busy = UK_WAITS;
                plat_park(INT64_MAX);
                boot->busy = busy ? ++beats : 0;
            }
        } else if (outcome < 0)
            broken();
    }
}

/* Look for a while, if it is alone on its core; then sleep until the bell is rung. */
static void await_record(int64_t until) {
    if (boot->flags & UK_POLLS)
        for (const uint64_t begun = plat_ticks(); plat_ticks() - begun < LOOK; bl_pause())
            if (bl_has_record(&in)) return;
    const int has_come = bl_sleep(&in);
    if (has_come < 0) broken();
    if (!has_come) {
        if (bl_room_wanted(&in)) plat_ring();
        plat_park(until);
    }
    bl_wake(&in);
}

/* The next record of any kind, its value in the inbox. 0: it is late. */
static int next(uk_message *m, int64_t until) {
    for (;;) {
        bl_record record;
        const int64_t length = bl_read(&in, &record, uk_inbox, uk_inbox_size);
        if (length >= 0) {
            *m = (uk_message){record.kind, (uint32_t)length, uk_inbox, -(uk_pid)record.to, record.ref};
            return 1;
        }
        if (length != -BL_EAGAIN) broken(); /* one that is longer, too: the gateway was told how much there may be */
        if (bl_room_wanted(&in) == 1) plat_ring();
        if (until != INT64_MAX && plat_now() >= until) return 0;
        await_record(until);
    }
}

static int64_t time_of(int timeout_ms) { return timeout_ms < 0 ? INT64_MAX : plat_now() + timeout_ms * 1000000ll; }

static int is_for_receive(const uk_message *m) {
    return m->kind == SEND || m->kind == CALL || m->kind == EXIT || (m->kind == DOWN && m->call % 2 == 1);
}

static int received(uk_message *message, int64_t until) {
    let_go();
    if (kept_from < kept_to) {
        memcpy(message, kept + kept_from, sizeof *message);
        message->value = kept + kept_from + sizeof *message;
        given = room_of(message->length);
        return 1;
    }
    if (unkept.kind != 0) {
        *message = unkept;
        unkept.kind = 0;
        return 1;
    }
    while (next(message, until))
        if (is_for_receive(message)) return 1;
    return 0;
}

int uk_receive(uk_message *message, int timeout_ms) {
    boot->busy = 0;
    const int has_come = received(message, time_of(timeout_ms));
    uk_beat();
    return has_come ? (int)message->kind : UK_TIMED_OUT;
}

int uk_send(uk_pid to, const void *value, uint32_t length) {
    if (to < 0) return UK_NO_SUCH; /* a program knows what it would tell itself */
    return put(SEND, (uint64_t)to, ME, 0, value, length);
}

int uk_reply(uint64_t call, const void *value, uint32_t length) { return put(REPLY, NOBODY, ME, call, value, length); }

/* The answer with this number, and keep what else comes. Returns as uk_call. */
static int answered(uk_message *answer, uint64_t number, int64_t until) {
    while (next(answer, until)) {
        if ((answer->kind == REPLY || answer->kind == DOWN) && answer->call == number) return (int)answer->kind;
        if (is_for_receive(answer) && !keep(answer)) {
            unkept = *answer;
            return UK_FULL;
        }
    }
    return UK_TIMED_OUT;
}

int uk_call(uk_pid to, const void *request, uint32_t length, uk_message *answer, int timeout_ms) {
    const uint64_t number = requests += 2;
    if (to < 0) return UK_NO_SUCH;
    if (unkept.kind != 0) return UK_FULL;
    if (put(CALL, (uint64_t)to, ME, number, request, length) < 0) return UK_TOO_LONG;
    let_go();
    boot->busy = 0;
    const int outcome = answered(answer, number, time_of(timeout_ms));
    if (outcome < 0) put(DEMONITOR, NOBODY, ME, number, NULL, 0);
    uk_beat();
    return outcome;
}

uk_pid uk_self(void) { return UK_SELF; }

uk_pid uk_spawn(void) { return -++last; }

void uk_end(uk_pid pid, const void *reason, uint32_t length) { put(DOWN, NOBODY, ME, -(uint64_t)pid, reason, length); }

uint64_t uk_monitor(uk_pid pid) {
    const uint64_t number = (requests += 2) + 1;
    if (pid < 0) return 0;
    put(MONITOR, (uint64_t)pid, ME, number, NULL, 0);
    return number;
}

void uk_demonitor(uint64_t monitor) { put(DEMONITOR, NOBODY, ME, monitor, NULL, 0); }

void uk_log(const char *text) { put(OUTPUT, NOBODY, ME, STDERR, text, (uint32_t)strlen(text)); }

int64_t uk_now(void) { return plat_now(); }

void uk_beat(void) { boot->busy = ++beats; }

void uk_stop(const void *reason, uint32_t length) {
    put(ENDED, NOBODY, ME, 0, reason, length);
    plat_exit(0);
}

void uk_exit(int status) {
    uint8_t reason[16];
    uk_writer w = uk_write(reason, sizeof reason);
    if (status != 0) {
        uk_write_tuple(&w, 2);
        uk_write_str(&w, "exit", 4);
        uk_write_int(&w, status);
    } else
        uk_write_str(&w, "normal", 6);
    uk_stop(reason, uk_written(&w));
}

void uk_begin(void *memory, uk_boot *page) {
    boot = page;
    if (page->magic != UK_BOOT_MAGIC || page->version != UK_BOOT_VERSION) broken();
    if (bl_open(memory, page->pair_size, 1, page->longest, &out, &in) < 0) broken();
    put(READY, NOBODY, ME, uk_inbox_size, NULL, 0);
    uk_main();
    uk_exit(0);
}
