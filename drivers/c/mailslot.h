/* The host's side of an I/O server (io_server.S): one command at a time, in memory that its machine shares. */
#ifndef BEAMLIKE_MAILSLOT_H
#define BEAMLIKE_MAILSLOT_H

#include <stdint.h>

/* Ask, and look so many times for the answer. `block` is at 0x500. 0; or -EAGAIN: it is not there yet, perhaps because the processor sleeps:
   look on with command 0. */
int bl_io_ask(volatile uint32_t *block, uint32_t command, uint32_t width, uint32_t at, uint32_t value, uint32_t looks);

#endif
