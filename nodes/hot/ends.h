/* What ends.py says in C because Python has no word for it. The pure-Python twin is portable.py. */
#ifndef BEAMLIKE_ENDS_H
#define BEAMLIKE_ENDS_H
#include <Python.h>
#include <time.h>
#include <unistd.h>
#include "ring.h"

static inline bl_writer *bl_writer_at(size_t address) { return (bl_writer *)address; }
static inline bl_reader *bl_reader_at(size_t address) { return (bl_reader *)address; }
static inline bl_set *bl_set_at(size_t address) { return (bl_set *)address; }

/* Room for a record's header and, behind it, a payload. The bytearray is never resized. */
enum { BL_HEADER_ROOM = 64 };
static inline PyObject *bl_record_room(Py_ssize_t length) { return PyByteArray_FromStringAndSize(NULL, BL_HEADER_ROOM + length); }
static inline bl_record *bl_record_in(PyObject *room) { return (bl_record *)(void *)PyByteArray_AS_STRING(room); }
static inline uint8_t *bl_payload_in(PyObject *room) { return (uint8_t *)PyByteArray_AS_STRING(room) + BL_HEADER_ROOM; }

/* A record's `from` is a word of Python's. */
static inline uint64_t bl_from(const bl_record *record) { return record->from; }

static inline const uint8_t *bl_bytes(PyObject *bytes) { return (const uint8_t *)PyBytes_AS_STRING(bytes); }
static inline PyObject *bl_make_bytes(const uint8_t *data, int64_t length) {
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
}

/* Ring a bell: an eventfd. It can only fail if it was rung 2**64 - 2 times: then it will ring. */
static inline void bl_ring(int bell) {
    const uint64_t one = 1;
    if (write(bell, &one, sizeof one) < 0) return;
}

/* Whether msgpack may hold an extension: one of the bytes that begin one is in it, as that or as something else. */
static inline int bl_may_extend(const uint8_t *data, int64_t length) {
    for (int64_t i = 0; i < length; i++)
        if ((data[i] >= 0xc7 && data[i] <= 0xc9) || (data[i] >= 0xd4 && data[i] <= 0xd8)) return 1;
    return 0;
}

static inline double bl_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
#endif
