cimport cython
from beamlike.hot.calls cimport Caller, answer
from beamlike.hot.codec cimport unpack as unpack_quickly
from beamlike.hot.ids cimport Pid
from beamlike.hot.process cimport Process
from beamlike.hot.scheduler cimport deliver, has_runnable
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "ring.h":
    ctypedef struct bl_writer:
        pass
    ctypedef struct bl_reader:
        pass
    ctypedef struct bl_set:
        pass
    ctypedef struct bl_record:
        uint32_t length
        uint8_t kind
        uint8_t flags
        uint64_t to
        uint64_t ref
    int BL_EAGAIN
    int bl_write(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from_, uint64_t ref, const uint8_t *data, uint32_t length)
    int64_t bl_read(bl_reader *r, bl_record *record, uint8_t *buffer, size_t capacity)
    int bl_room_wanted(bl_reader *r)
    int bl_set_poll(bl_set *set, uint32_t spins)

cdef extern from "ends.h":
    bl_writer *writer_at "bl_writer_at" (size_t address)
    bl_reader *reader_at "bl_reader_at" (size_t address)
    bl_set *set_at "bl_set_at" (size_t address)
    object new_room "bl_record_room" (Py_ssize_t length)
    bl_record *record_in "bl_record_in" (object room)
    uint8_t *payload_in "bl_payload_in" (object room)
    uint64_t from_of "bl_from" (bl_record *record)
    const uint8_t *bytes_at "bl_bytes" (object data)
    bytes make_bytes "bl_make_bytes" (uint8_t *data, int64_t length)
    bint may_extend "bl_may_extend" (const uint8_t *data, int64_t length)
    void ring_bell "bl_ring" (int bell)
    double seconds_now "bl_seconds" ()

cdef double POLL
cdef int SPINS, SEND, CALL, REPLY, BATCH
cdef size_t LARGEST
cdef dict _left

cpdef bint may_hold_pid(bytes payload)

cdef class Outlet:
    cdef readonly object end
    cdef readonly int bell
    cdef readonly Py_ssize_t largest
    cdef readonly object write_large
    cdef readonly object broke
    cdef bl_writer *writer

    cpdef bint write(self, int kind, uint64_t to, uint64_t from_, uint64_t ref, bytes payload) except -1

cdef class Inlet:
    cdef readonly object end
    cdef readonly int bell
    cdef object room
    cdef object arrived, peer
    cdef object broke
    cdef int batch
    cdef size_t largest
    cdef public dict handed
    cdef public dict calls
    cdef public Process process
    cdef public object free
    cdef public long quota, longest
    cdef public bint is_held
    cdef bl_reader *reader
    cdef bl_record *record
    cdef uint8_t *payload

    cpdef bint take(self) except -1
    cdef bint take_batch(self) except -1
    @cython.locals(to=uint64_t, pid=Pid)
    cdef bint take_handed(self, bytes payload) except -1
    @cython.locals(caller=Caller)
    cdef bint take_answer(self, bytes payload) except -1

cdef class Looks:
    cdef readonly object readers
    cdef bl_set *set
    cdef readonly dict inlets
    cdef readonly bint polls
    cdef readonly object waiting
    cdef object flush
    cdef double last

    cpdef void drain(self) except *
    cpdef bint fetch(self, double end) except -1
