/* The scalars of msgpack, and bytes, for codec.py. The pure-Python twin is portable_codec.py.

Writers put something at `at` and answer where it ends, or -1 if it does not fit below `room` or is nothing for them. */
#ifndef BEAMLIKE_CODEC_H
#define BEAMLIKE_CODEC_H
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { BL_ROOM = 1 << 16 };
static uint8_t bl_room[BL_ROOM];
static inline uint8_t *bl_new_room(void) { return bl_room; }

static inline void bl_big(uint8_t *out, uint64_t number, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, number >>= 8) out[i] = (uint8_t)number;
}

static inline uint64_t bl_from_big(const uint8_t *data, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | data[i];
    return number;
}

static inline Py_ssize_t bl_put_number(uint8_t *out, Py_ssize_t at, uint8_t head, uint64_t number, int bytes) {
    out[at] = head;
    bl_big(out + at + 1, number, bytes);
    return at + 1 + bytes;
}

static inline Py_ssize_t bl_put_int(uint8_t *out, Py_ssize_t at, PyObject *value) {
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    uint64_t bits = (uint64_t)number;
    if (overflow < 0) return -1;
    if (overflow > 0) {
        bits = PyLong_AsUnsignedLongLong(value);
        if (bits == (uint64_t)-1 && PyErr_Occurred()) { PyErr_Clear(); return -1; }
        return bl_put_number(out, at, 0xcf, bits, 8);
    }
    if (number >= 0) {
        if (number < 128) { out[at] = (uint8_t)number; return at + 1; }
        if (number <= UINT8_MAX) return bl_put_number(out, at, 0xcc, bits, 1);
        if (number <= UINT16_MAX) return bl_put_number(out, at, 0xcd, bits, 2);
        if (number <= UINT32_MAX) return bl_put_number(out, at, 0xce, bits, 4);
        return bl_put_number(out, at, 0xcf, bits, 8);
    }
    if (number >= -32) { out[at] = (uint8_t)number; return at + 1; }
    if (number >= INT8_MIN) return bl_put_number(out, at, 0xd0, bits, 1);
    if (number >= INT16_MIN) return bl_put_number(out, at, 0xd1, bits, 2);
    if (number >= INT32_MIN) return bl_put_number(out, at, 0xd2, bits, 4);
    return bl_put_number(out, at, 0xd3, bits, 8);
}

/* `small` is the head for a length below 32 (0: none), `head8` for one byte of length; those of 2 and 4 bytes follow. */
static inline Py_ssize_t bl_put_sized(uint8_t *out, Py_ssize_t at, Py_ssize_t room, uint8_t small, uint8_t head8, const char *data, Py_ssize_t length) {
    if (length > room - at - 5) return -1;
    if (small && length < 32) out[at++] = small | (uint8_t)length;
    else if (length <= UINT8_MAX) at = bl_put_number(out, at, head8, (uint64_t)length, 1);
    else if (length <= UINT16_MAX) at = bl_put_number(out, at, head8 + 1, (uint64_t)length, 2);
    else return -1;
    memcpy(out + at, data, (size_t)length);
    return at + length;
}

static inline Py_ssize_t bl_put_scalar(uint8_t *out, Py_ssize_t at, Py_ssize_t room, PyObject *value) {
    if (at > room - 9) return -1;
    if (PyLong_CheckExact(value)) return bl_put_int(out, at, value);
    if (PyUnicode_CheckExact(value)) {
        if (PyUnicode_IS_COMPACT_ASCII(value))
            return bl_put_sized(out, at, room, 0xa0, 0xd9, (const char *)PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value));
        PyObject *utf8 = PyUnicode_AsUTF8String(value);
        if (utf8 == NULL) { PyErr_Clear(); return -1; } /* a lone surrogate */
        at = bl_put_sized(out, at, room, 0xa0, 0xd9, PyBytes_AS_STRING(utf8), PyBytes_GET_SIZE(utf8));
        Py_DECREF(utf8);
        return at;
    }
    if (PyBytes_CheckExact(value)) return bl_put_sized(out, at, room, 0, 0xc4, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (value == Py_None) { out[at] = 0xc0; return at + 1; }
    if (value == Py_False) { out[at] = 0xc2; return at + 1; }
    if (value == Py_True) { out[at] = 0xc3; return at + 1; }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        uint64_t bits;
        memcpy(&bits, &number, 8);
        return bl_put_number(out, at, 0xcb, bits, 8);
    }
    return -1;
}

/* The head of an array (small 0x90, head16 0xdc) or a map (0x80, 0xde). */
static inline Py_ssize_t bl_put_count(uint8_t *out, Py_ssize_t at, Py_ssize_t room, uint8_t small, uint8_t head16, Py_ssize_t count) {
    if (at > room - 3) return -1;
    if (count < 16) { out[at] = small | (uint8_t)count; return at + 1; }
    return count <= UINT16_MAX ? bl_put_number(out, at, head16, (uint64_t)count, 2) : -1;
}

static inline Py_ssize_t bl_put_raw(uint8_t *out, Py_ssize_t at, Py_ssize_t room, PyObject *bytes) {
    Py_ssize_t length = PyBytes_GET_SIZE(bytes);
    if (length > room - at) return -1;
    memcpy(out + at, PyBytes_AS_STRING(bytes), (size_t)length);
    return at + length;
}

static inline PyObject *bl_make_raw(const uint8_t *data, Py_ssize_t at, Py_ssize_t length) {
    return PyBytes_FromStringAndSize((const char *)data + at, length);
}

static inline const uint8_t *bl_data_of(PyObject *bytes) { return (const uint8_t *)PyBytes_AS_STRING(bytes); }

static const uint8_t *const bl_no_data = NULL;

static inline int bl_is_same(const uint8_t *data, Py_ssize_t at, Py_ssize_t length, PyObject *raw) {
    return PyBytes_GET_SIZE(raw) == length && memcmp(data + at, PyBytes_AS_STRING(raw), (size_t)length) == 0;
}

/* A part of a tuple that nobody has seen yet. */
static inline void bl_set_part(PyObject *parts, Py_ssize_t index, PyObject *part) {
    PyTuple_SET_ITEM(parts, index, Py_NewRef(part));
}

/* How many bytes the scalar at `at` takes; 0 if there is none, or not all of it. */
static inline Py_ssize_t bl_scalar_length(const uint8_t *data, Py_ssize_t at, Py_ssize_t end) {
    if (at >= end) return 0;
    const uint8_t head = data[at];
    Py_ssize_t left = end - at, length;
    if (head < 0x80 || head >= 0xe0) return 1;
    if (head >= 0xa0 && head < 0xc0) length = 1 + (head & 31);
    else switch (head) {
        case 0xc0: case 0xc2: case 0xc3: return 1;
        case 0xcc: case 0xd0: length = 2; break;
        case 0xcd: case 0xd1: length = 3; break;
        case 0xce: case 0xd2: length = 5; break;
        case 0xcb: case 0xcf: case 0xd3: length = 9; break;
        case 0xc4: case 0xd9: length = left < 2 ? 2 : 2 + data[at + 1]; break;
        case 0xc5: case 0xda: length = left < 3 ? 3 : 3 + (Py_ssize_t)bl_from_big(data + at + 1, 2); break;
        default: return 0;
    }
    return length <= left ? length : 0;
}

static inline PyObject *bl_make_text(const uint8_t *data, Py_ssize_t length) {
    return PyUnicode_DecodeUTF8((const char *)data, length, "surrogatepass");
}

/* The scalar of so many bytes at `at`. */
static inline PyObject *bl_make_scalar(const uint8_t *data, Py_ssize_t at, Py_ssize_t length) {
    const uint8_t head = data[at];
    const uint8_t *rest = data + at + 1;
    if (head < 0x80) return PyLong_FromLong(head);
    if (head >= 0xe0) return PyLong_FromLong((int8_t)head);
    if (head < 0xc0) return bl_make_text(rest, length - 1);
    switch (head) {
        case 0xc0: Py_RETURN_NONE;
        case 0xc2: Py_RETURN_FALSE;
        case 0xc3: Py_RETURN_TRUE;
        case 0xcc: case 0xcd: case 0xce: case 0xcf: return PyLong_FromUnsignedLongLong(bl_from_big(rest, (int)length - 1));
        case 0xd0: return PyLong_FromLong((int8_t)bl_from_big(rest, 1));
        case 0xd1: return PyLong_FromLong((int16_t)bl_from_big(rest, 2));
        case 0xd2: return PyLong_FromLong((int32_t)bl_from_big(rest, 4));
        case 0xd3: return PyLong_FromLongLong((int64_t)bl_from_big(rest, 8));
        case 0xcb: {
            uint64_t bits = bl_from_big(rest, 8);
            double number;
            memcpy(&number, &bits, 8);
            return PyFloat_FromDouble(number);
        }
        case 0xc4: return PyBytes_FromStringAndSize((const char *)rest + 1, length - 2);
        case 0xc5: return PyBytes_FromStringAndSize((const char *)rest + 2, length - 3);
        case 0xd9: return bl_make_text(rest + 1, length - 2);
        default: return bl_make_text(rest + 2, length - 3); /* 0xda */
    }
}
#endif
