#include "mailslot.h"

#include <errno.h>

int bl_io_ask(volatile uint32_t *block, uint32_t command, uint32_t width, uint32_t at, uint32_t value, uint32_t looks) {
    if (command != 0) {
        block[1] = width;
        block[2] = at;
        block[3] = value;
        __atomic_store_n(&block[0], command, __ATOMIC_SEQ_CST); /* after its operands, before the look whether it sleeps */
        if (__atomic_load_n(&block[4], __ATOMIC_SEQ_CST)) return -EAGAIN;
    }
    for (; looks > 0; looks--) {
        if (__atomic_load_n(&block[0], __ATOMIC_ACQUIRE) == 0) return 0; /* before the results */
        __builtin_ia32_pause();
    }
    return -EAGAIN;
}
