from beamlike.hot.ids cimport Pid
from beamlike.hot.messagequeue cimport MessageQueue

cdef int MOST_ANCESTORS, _dead
cdef double _infinity

cdef class Empty:
    pass

cdef class Process:
    cdef public Pid pid
    cdef public object coro, context
    cdef public tuple layers
    cdef public int state
    cdef public bint trap_exit, is_restrained
    cdef public long reductions
    cdef public object first
    cdef public MessageQueue mailbox
    cdef public object bounds
    cdef public double deadline, timer_at
    cdef public object task, greenlet, outbox
    cdef public dict calls
    cdef public Process calling, next, older, newer
    cdef public set links
    cdef public dict monitors, monitored_by
    cdef public str name
    cdef public tuple ancestors, lineage
    cdef public object extra, parent

cpdef Process make_process(Pid pid, object coro, object context, tuple layers, Process parent)
cpdef object living(object parent)
cpdef void set_layers(Process process, tuple layers) except *
cpdef void set_outbox(Process process, object outbox) except *
