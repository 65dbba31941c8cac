/* What each platform gives to the mailbox: plat_linux.c, plat_bare.c. */
#ifndef PLAT_H
#define PLAT_H

#include <stdint.h>

#define UK_BOOT_MAGIC 0x544f4f424b554c42u /* "BLUKBOOT", read as a little-endian number */
#define UK_BOOT_VERSION 1u
#define UK_POLLS 1u
#define UK_WAITS UINT64_MAX

/* The last page of the memory that is shared with the node. Written by the node before the start, but for the end of it. */
typedef struct uk_boot {
    uint64_t magic;
    uint32_t version;
    uint32_t flags;     /* UK_POLLS: it is alone on its core, and looks for a while before it sleeps */
    uint64_t pair_size; /* bytes of the rings, from the beginning */
    uint32_t longest;   /* bytes of a message, for both rings */
    uint32_t reserved;
    uint64_t busy;      /* ours: 0 while it waits for a message, UK_WAITS for room, another number after each that it got, and at each uk_beat */
    struct {            /* ours: what ended it */
        uint32_t number; /* of the signal; on the bare machine 0x100 and the processor's exception; 0: nothing */
        uint32_t code;
        uint64_t address;
        uint64_t at;    /* of the instruction */
    } crash;
} uk_boot;

/* What the platform calls when the memory is there, on a stack: it calls uk_main, and does not return. */
_Noreturn void uk_begin(void *memory, uk_boot *boot);

/* Wait until the bell is rung, or until that time; both may be earlier. INT64_MAX: no time. */
void plat_park(int64_t until);

/* Ring the node's. */
void plat_ring(void);

/* Nanoseconds of a clock that only runs forward; and of a counter that is quicker to read, in units of its own. */
int64_t plat_now(void);
uint64_t plat_ticks(void);

/* The end of everything. */
_Noreturn void plat_exit(int status);

#endif
