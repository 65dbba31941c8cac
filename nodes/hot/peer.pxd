cimport cython
from beamlike.hot.calls cimport Call, Caller, Wait, answer, release_caller
from beamlike.hot.codec cimport pack as pack_quickly
from beamlike.hot.ids cimport NodeId, Pid, Ref, make_pid, make_ref_of
from beamlike.hot.process cimport Process
from beamlike.hot.scheduler cimport deliver
from libc.stdint cimport uint64_t
from nodes.hot.ends cimport Outlet, may_hold_pid

cdef int SEND, CALL, REPLY, DEMONITOR
cdef Py_ssize_t _most_backlog, _record
cdef dict _left
cdef bytes _nothing

cdef class Peer:
    cdef readonly NodeId id
    cdef readonly object router
    cdef public set held
    cdef public object way
    cdef public bint is_lost, is_held_up
    cdef readonly object backlog
    cdef public Py_ssize_t backlog_bytes
    cdef public dict links, watching, watched
    cdef public set put_off

    cpdef void send(self, long serial, object message) except *
    cpdef bint pass_message(self, object message, uint64_t to, Py_ssize_t most) except -1
    cpdef bint pass_call(self, Call call, uint64_t to, Py_ssize_t most, uint64_t number, dict calls) except -1
    @cython.locals(caller=Pid, server=Pid)
    cpdef void call(self, Wait wait) except *
    cpdef void call_over(self, Wait wait) except *
    @cython.locals(server=Process)
    cpdef void reply(self, Pid caller, Ref ref, object value) except *
    cpdef void put(self, int kind, uint64_t to, uint64_t from_, uint64_t ref, bytes payload) except *
    cpdef void put_for_caller(self, int kind, uint64_t to, uint64_t from_, uint64_t ref, bytes payload) except *
    cdef bint write(self, int kind, uint64_t to, uint64_t from_, uint64_t ref, bytes payload) except -1
    cdef void _queue(self, int kind, uint64_t to, uint64_t from_, uint64_t ref, bytes payload) except *
    cdef void _hold_sender(self) except *
    cpdef void call_came(self, Process process, long from_, long ref, object request, tuple layers=*) except *
    cpdef void reply_came(self, Process process, long ref, object value) except *
    cpdef Process not_watched(self, long ref)

cdef bytes _packed(object message)
