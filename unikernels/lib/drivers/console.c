/* A screen of text (VGA, mode 3), and the same on COM1. */
#include "../uk.h"
#include "../uk_drivers.h"

enum { COLUMNS = 80, ROWS = 25, GREY = 0x0700 };

static volatile uint16_t *const screen = (volatile uint16_t *)0xb8000;
static uint32_t at; /* the next cell */

static void up_a_line(void) {
    for (int i = 0; i < COLUMNS * (ROWS - 1); i++) screen[i] = screen[i + COLUMNS];
    for (int i = COLUMNS * (ROWS - 1); i < COLUMNS * ROWS; i++) screen[i] = GREY | ' ';
    at -= COLUMNS;
}

void uk_console_write(const char *text, uint32_t length) {
    for (; length > 0; text++, length--) {
        uk_serial_write(UK_COM1, (uint8_t)*text);
        if (*text == '\n')
            at += COLUMNS - at % COLUMNS;
        else
            screen[at++] = GREY | (uint8_t)*text;
        if (at == COLUMNS * ROWS) up_a_line();
    }
}
