/* For test_fuzz_values.py: libFuzzer's function. Whatever bytes are read as a value, nothing outside of them is; what can be skipped can be read; and
   what is written again is read as the same. */
#include <stdlib.h>
#include <string.h>

#include "uk.h"

enum { DEEPEST = 60 }; /* less than uk_skip goes */

/* Read the next value, by its type, and write it again. */
static void copy(uk_reader *r, uk_writer *w, int depth) {
    uint32_t length = 0, count;
    if (depth > DEEPEST) {
        r->failed = 1;
        return;
    }
    switch (uk_next(r)) {
        case UK_NIL: uk_read_nil(r); uk_write_nil(w); break;
        case UK_BOOL: uk_write_bool(w, uk_read_bool(r)); break;
        case UK_INT: uk_write_int(w, uk_read_int(r)); break;
        case UK_FLOAT: uk_write_float(w, uk_read_float(r)); break;
        case UK_STR: { const char *s = uk_read_str(r, &length); if (s != NULL) uk_write_str(w, s, length); break; }
        case UK_BYTES: { const uint8_t *s = uk_read_bytes(r, &length); if (s != NULL) uk_write_bytes(w, s, length); break; }
        case UK_PID: uk_write_pid(w, uk_read_pid(r)); break;
        case UK_TUPLE:
            count = uk_read_tuple(r);
            uk_write_tuple(w, count);
            for (uint32_t i = 0; i < count && !r->failed; i++) copy(r, w, depth + 1);
            break;
        case UK_MAP:
            count = uk_read_map(r);
            uk_write_map(w, count);
            for (uint32_t i = 0; i < 2 * count && !r->failed; i++) copy(r, w, depth + 1);
            break;
        case UK_OTHER: uk_skip(r); uk_write_nil(w); break;
        default: r->failed = 1;
    }
}

/* Any function on any bytes, in the order that the first of them say. */
static void call_any(const uint8_t *data, size_t size) {
    uk_reader r = uk_read(data, (uint32_t)size);
    uint32_t length;
    for (size_t i = 0; i < size && i < 64; i++) {
        switch (data[size - 1 - i] % 11) {
            case 0: uk_read_nil(&r); break;
            case 1: uk_read_bool(&r); break;
            case 2: uk_read_int(&r); break;
            case 3: uk_read_float(&r); break;
            case 4: uk_read_str(&r, &length); break;
            case 5: uk_read_bytes(&r, &length); break;
            case 6: uk_read_tuple(&r); break;
            case 7: uk_read_map(&r); break;
            case 8: uk_read_pid(&r); break;
            case 9: uk_skip(&r); break;
            default: uk_next(&r);
        }
        if (r.at < data || r.at > data + size) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *given, size_t size) {
    uint8_t *data = malloc(size + 1), *out = malloc(9 * size + 64); /* of their very size, so that the sanitizer sees each byte too many */
    data = realloc(data, size ? size : 1);
    memcpy(data, given, size);
    call_any(data, size);
    uk_reader skipped = uk_read(data, (uint32_t)size), r = skipped;
    uk_skip(&skipped);
    uk_writer w = uk_write(out, (uint32_t)(9 * size + 64));
    copy(&r, &w, 0);
    if (!r.failed && (w.failed || skipped.failed || skipped.at != r.at)) abort();
    if (!r.failed) { /* again: the same bytes, for now they are canonical */
        const uint32_t length = uk_written(&w);
        uint8_t *again = malloc(length + 1);
        uk_reader second = uk_read(out, length);
        uk_writer twice = uk_write(again, length);
        copy(&second, &twice, 0);
        if (second.failed || twice.failed || uk_written(&twice) != length || memcmp(out, again, length) != 0) abort();
        free(again);
    }
    if (size > 0) { /* a writer without room */
        uk_writer small = uk_write(out, (uint32_t)(given[0] % size));
        uk_reader once = uk_read(data, (uint32_t)size);
        copy(&once, &small, 0);
        if (small.at > small.end) abort();
    }
    free(data);
    free(out);
    return 0;
}
