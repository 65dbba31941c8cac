/* Rows of the Mandelbrot set: a call (row, width, height, x, y, step, depth) is answered by the bytes of that row, for each point after how many
   steps it has gone, 0 if it has not after `depth` (at most 255). `x`, `y`: of the upper left corner. */
#include "uk.h"

enum { WIDEST = 60000 };

static uint8_t row[WIDEST], out[WIDEST + 8];

static uint8_t steps_of(double cx, double cy, int64_t depth) {
    double x = 0, y = 0;
    for (int64_t step = 1; step <= depth; step++) {
        const double x2 = x * x, y2 = y * y;
        if (x2 + y2 > 4) return (uint8_t)step;
        y = 2 * x * y + cy;
        x = x2 - y2 + cx;
    }
    return 0;
}

void uk_main(void) {
    uk_message m;
    for (;;) {
        if (uk_receive(&m, UK_FOREVER) != UK_CALL) continue;
        uk_reader r = uk_read_message(&m);
        uk_writer w = uk_write(out, sizeof out);
        const uint32_t items = uk_read_tuple(&r);
        const int64_t number = uk_read_int(&r), width = uk_read_int(&r);
        uk_read_int(&r); /* the height */
        const double x = uk_read_float(&r), y = uk_read_float(&r), step = uk_read_float(&r);
        const int64_t depth = uk_read_int(&r);
        if (r.failed || items != 7 || width < 1 || width > WIDEST || depth < 1 || depth > 255) {
            uk_write_nil(&w);
        } else {
            for (int64_t i = 0; i < width; i++) row[i] = steps_of(x + (double)i * step, y + (double)number * step, depth);
            uk_write_bytes(&w, row, (uint32_t)width);
        }
        uk_reply(m.call, out, uk_written(&w));
    }
}
