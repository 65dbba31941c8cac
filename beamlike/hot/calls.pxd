cimport cython
from beamlike.hot cimport scheduler
from beamlike.hot.guards cimport acts_as_service, require_target
from beamlike.hot.ids cimport Pid, Ref
from beamlike.hot.native cimport poll_type, set_pending
from beamlike.hot.process cimport Process
from beamlike.hot.scheduler cimport deliver, make_ref, now, wake
from beamlike.hot.values cimport copy_value

cdef int RUNNABLE, WAITING
cdef double INFINITY
cdef object PARK

cdef class Caller:
    cdef public Pid pid
    cdef public Ref ref

cdef class Call:
    cdef public Caller caller
    cdef public object request
    cdef public tuple layers

cdef class Cast:
    cdef public object request
    cdef public tuple layers

cdef class Wait:
    cdef public Process process
    cdef public object server
    cdef public object request, value, event
    cdef public Ref ref
    cdef public tuple layers
    cdef public int state
    cdef public bint is_over, is_permitted
    cdef public double timeout
    cpdef void begin(self) except *
    cdef void check_again(self) except *
    cdef Process local_server(self)
    cdef object peer(self)
    cpdef void refuse_cycle(self, Process server) except *
    cpdef void answer(self, object value) except *
    cpdef void fail(self, object reason) except *
    cpdef void go_on(self) except *
    cpdef void end(self) except *

cpdef Wait make_wait(Process process, object server, object request, double timeout)
cdef object _call(Process process, object server, object request, object timeout, bint is_permitted)
cpdef void permit_call(Process process, tuple layers, object server) except *
cpdef tuple joined(tuple layers, tuple more)
@cython.locals(process=Process)
cpdef void release_caller(Caller caller) except *
cpdef void answer(Process process, Ref ref, object value) except *
cdef object _poll_wait(object awaitable)
