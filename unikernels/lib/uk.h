/* What a C program can do as a unikernel: a node of its own, or a cell of WebAssembly, in the mailboxes of beamlike.

   The program is `void uk_main(void)`. The first message is the tuple of the arguments that it was started with. When uk_main returns it
   ends with the reason `normal`. The same source is built for Linux, for the bare machine and for WebAssembly: see docs/unikernels.md.

   Values are packed, as everywhere on the wire: nil, booleans, integers, floats, strings and bytes are msgpack's own, a tuple is an array,
   a dict a map, and a pid an extension. Pids are numbers here: a program can name those that it was given, and its own. Naming another
   ends it. */
#ifndef UK_H
#define UK_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t uk_pid;

#define UK_SELF ((uk_pid)-1)
#define UK_FOREVER (-1) /* timeout_ms */

enum { /* kinds */
    UK_MESSAGE = 1,
    UK_CALL = 3,   /* answer it by uk_reply, now or later */
    UK_ANSWER = 5, /* of uk_call */
    UK_EXIT = 6,   /* one of the program's other pids was killed: `to` */
    UK_DOWN = 13,  /* whom uk_monitor watched has ended: `call` is what that gave; or of uk_call: there is no answer. The value is the reason */
};

enum { /* results, all negative; 0 or a kind is good */
    UK_TIMED_OUT = -1,
    UK_FULL = -2,     /* of uk_call: more messages came while it waited than are kept (64 KiB): receive them, the answer is not awaited */
    UK_TOO_LONG = -3, /* nothing was sent */
    UK_NO_SUCH = -4,  /* uk_send, uk_call to a pid of the program's own */
};

typedef struct uk_message {
    uint32_t kind;
    uint32_t length;      /* bytes of the value */
    const uint8_t *value; /* until the next uk_receive or uk_call */
    uk_pid to;            /* which of the program's pids it came for */
    uint64_t call;        /* of a UK_CALL, for uk_reply; of a UK_DOWN */
} uk_message;

/* The program. */
void uk_main(void);

/* Once in a program, for longer messages than 65,536 bytes: room for the one that is received. Senders are refused what is longer. */
#define UK_INBOX(bytes)                                                                           \
    _Static_assert((bytes) >= 64 && (bytes) <= 16 << 20, "UK_INBOX is of 64 bytes up to 16 MiB"); \
    uint8_t uk_inbox[bytes];                                                                      \
    const uint32_t uk_inbox_size = bytes

/* The next message, call, or end. Returns its kind, or UK_TIMED_OUT. */
int uk_receive(uk_message *message, int timeout_ms);

/* Send a value. Waits while there is no room in the mailbox. Returns 0 or UK_TOO_LONG. */
int uk_send(uk_pid to, const void *value, uint32_t length);

/* Answer a call, once; what is not a call, or was answered, goes nowhere. Returns 0 or UK_TOO_LONG. */
int uk_reply(uint64_t call, const void *value, uint32_t length);

/* Ask, and wait for the answer. Returns UK_ANSWER or UK_DOWN, as the message's kind; or UK_TIMED_OUT, UK_FULL, UK_TOO_LONG, UK_NO_SUCH. Messages that come
   meanwhile are received after. */
int uk_call(uk_pid to, const void *request, uint32_t length, uk_message *answer, int timeout_ms);

/* This program's first pid. */
uk_pid uk_self(void);

/* Another pid of this program: send it to somebody, and what is sent to it comes with it in `to`. uk_end ends it, with a reason, a value.
   0 where there is only one (WebAssembly). */
uk_pid uk_spawn(void);
void uk_end(uk_pid pid, const void *reason, uint32_t length);

/* Be told by a UK_DOWN when this process has ended: its `call` is what is returned. 0 on WebAssembly, and for a pid of the program's own. */
uint64_t uk_monitor(uk_pid pid);
void uk_demonitor(uint64_t monitor); /* no longer, by what uk_monitor gave; a UK_DOWN may be on its way */

/* A line to the log of whoever started this; the newline may be missing. */
void uk_log(const char *text);

/* Nanoseconds of a clock that only runs forward. */
int64_t uk_now(void);

/* A long computation lives: who supervises with `heartbeat` waits on. Cheap. */
void uk_beat(void);

/* End: with `("exit", status)`, or `normal` for 0; with any reason, a value. */
_Noreturn void uk_exit(int status);
_Noreturn void uk_stop(const void *reason, uint32_t length);

/* ---- values ----

   A reader or writer is over a buffer, and has failed for good when something was not there, or there was no room: look at `failed` once,
   at the end. Nothing is read or written outside of the buffer. What a failed reader returns is 0 or NULL. */

typedef struct uk_reader {
    const uint8_t *at, *end;
    int failed;
} uk_reader;

typedef struct uk_writer {
    uint8_t *at, *end, *start;
    int failed;
} uk_writer;

typedef enum uk_type { UK_NOTHING, UK_NIL, UK_BOOL, UK_INT, UK_FLOAT, UK_STR, UK_BYTES, UK_TUPLE, UK_MAP, UK_PID, UK_OTHER } uk_type;

static inline uk_reader uk_read(const void *value, uint32_t length) {
    return (uk_reader){(const uint8_t *)value, (const uint8_t *)value + length, 0};
}

static inline uk_reader uk_read_message(const uk_message *message) { return uk_read(message->value, message->length); }

/* What the next value is; UK_NOTHING at the end, or when the reader has failed. */
uk_type uk_next(const uk_reader *r);

void uk_read_nil(uk_reader *r);
int uk_read_bool(uk_reader *r);
int64_t uk_read_int(uk_reader *r);                            /* a larger one fails */
double uk_read_float(uk_reader *r);                           /* an integer is one, too */
const char *uk_read_str(uk_reader *r, uint32_t *length);      /* UTF-8, without a zero at its end */
const uint8_t *uk_read_bytes(uk_reader *r, uint32_t *length); /* a str is taken, too */
uint32_t uk_read_tuple(uk_reader *r);                         /* how many values follow */
uint32_t uk_read_map(uk_reader *r);                           /* how many pairs */
uk_pid uk_read_pid(uk_reader *r);
void uk_skip(uk_reader *r);                                   /* one whole value, whatever is in it */

static inline uk_writer uk_write(void *buffer, uint32_t capacity) {
    return (uk_writer){(uint8_t *)buffer, (uint8_t *)buffer + capacity, (uint8_t *)buffer, 0};
}

/* Bytes that were written; 0, which is no value, if it has failed. */
static inline uint32_t uk_written(const uk_writer *w) { return w->failed ? 0 : (uint32_t)(w->at - w->start); }

void uk_write_nil(uk_writer *w);
void uk_write_bool(uk_writer *w, int value);
void uk_write_int(uk_writer *w, int64_t value);
void uk_write_float(uk_writer *w, double value);
void uk_write_str(uk_writer *w, const char *text, uint32_t length);
void uk_write_bytes(uk_writer *w, const void *data, uint32_t length);
void uk_write_tuple(uk_writer *w, uint32_t items);
void uk_write_map(uk_writer *w, uint32_t pairs);
void uk_write_pid(uk_writer *w, uk_pid pid);
void uk_write_packed(uk_writer *w, const void *value, uint32_t length); /* a value that is packed already */

/* ---- of the C library ---- */

void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *at, int value, size_t length);
int memcmp(const void *one, const void *other, size_t length);
size_t strlen(const char *text);

/* Whether a string that was read, which does not end with a 0, is this word. */
static inline int uk_is(const char *text, uint32_t length, const char *word) {
    return text != NULL && length == strlen(word) && memcmp(text, word, length) == 0;
}

#endif
