cimport cython
from beamlike.hot.ids cimport Pid
from beamlike.hot.values cimport Shape, shape_of
from libc.stdint cimport uint8_t

cdef extern from "codec.h":
    const Py_ssize_t ROOM "BL_ROOM"
    uint8_t *new_room "bl_new_room" ()
    Py_ssize_t put_scalar "bl_put_scalar" (uint8_t *out, Py_ssize_t at, Py_ssize_t room, object value)
    Py_ssize_t put_count "bl_put_count" (uint8_t *out, Py_ssize_t at, Py_ssize_t room, uint8_t small, uint8_t head16, Py_ssize_t count)
    Py_ssize_t put_raw "bl_put_raw" (uint8_t *out, Py_ssize_t at, Py_ssize_t room, bytes raw)
    bytes make_raw "bl_make_raw" (const uint8_t *data, Py_ssize_t at, Py_ssize_t length)
    const uint8_t *data_of "bl_data_of" (bytes data)
    Py_ssize_t scalar_length "bl_scalar_length" (const uint8_t *data, Py_ssize_t at, Py_ssize_t end)
    const uint8_t *NO_DATA "bl_no_data"
    bint is_same "bl_is_same" (const uint8_t *data, Py_ssize_t at, Py_ssize_t length, bytes raw)
    object new_tuple "PyTuple_New" (Py_ssize_t count)
    void set_part "bl_set_part" (object parts, Py_ssize_t index, object part)
    object whole_tuple "Py_NewRef" (object parts)
    object make_scalar "bl_make_scalar" (const uint8_t *data, Py_ssize_t at, Py_ssize_t length)

cdef uint8_t *_out
cdef bint _is_busy, _is_reading
cdef const uint8_t *_data
cdef Py_ssize_t _at, _end
cdef list _raws, _pids, _sent, _sent_raws
cdef int _recent, PID, LIST, DICT, RECORD
cdef object _pid_bytes, _pid_of, _registered
cdef dict _packed_pids, _arrived
cdef int _deepest, _most
cdef bytes _list_head, _dict_head, _record_head

cpdef object pack(object value)
cpdef object unpack(bytes data)

@cython.locals(end=Py_ssize_t, count=Py_ssize_t, shape=Shape, raw=bytes, field=str)
cdef Py_ssize_t _put(object value, Py_ssize_t at, int depth) except -2

@cython.locals(place=Py_ssize_t, raw=bytes)
cdef bytes _raw_of(Pid pid)

@cython.locals(end=Py_ssize_t)
cdef Py_ssize_t _put_dict(dict value, Py_ssize_t at, int depth) except -2

@cython.locals(length=Py_ssize_t)
cdef object _value(int depth)

@cython.locals(head=uint8_t, count=Py_ssize_t)
cdef Py_ssize_t _count(uint8_t small, uint8_t head16)

@cython.locals(code=uint8_t, index=Py_ssize_t)
cdef object _array(Py_ssize_t count, int depth)

@cython.locals(parts=list)
cdef object _list(Py_ssize_t count, int depth)

@cython.locals(shape=Shape)
cdef object _record(Py_ssize_t count, int depth)

@cython.locals(made=dict, length=Py_ssize_t)
cdef object _map(Py_ssize_t count, int depth)

@cython.locals(length=Py_ssize_t, start=Py_ssize_t, raw=bytes, place=Py_ssize_t)
cdef object _extension()
