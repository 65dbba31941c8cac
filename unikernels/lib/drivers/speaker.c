/* The loudspeaker: the third counter of the 8254 as a square wave, behind two bits of port 0x61. */
#include "../uk_drivers.h"

enum { COUNTER = 0x42, MODE = 0x43, GATE = 0x61, FREQUENCY = 1193182 };

void uk_speaker(uint32_t hertz) {
    const uint8_t gate = uk_in8(GATE) & 0xfc;
    uk_out8(GATE, gate);
    if (hertz == 0) return;
    uint32_t count = FREQUENCY / hertz;
    if (count > 0xffff) count = 0xffff;
    if (count < 2) count = 2;
    uk_out8(MODE, 0xb6);
    uk_out8(COUNTER, (uint8_t)count);
    uk_out8(COUNTER, (uint8_t)(count >> 8));
    uk_out8(GATE, gate | 3);
}
