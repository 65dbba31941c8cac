from beamlike.hot.guards cimport acts_as_service, require, require_target
from beamlike.hot.ids cimport NodeId, Pid, Ref, make_pid, make_ref_of
from beamlike.hot.mailboxes cimport mailbox_length, take, take_matching
from beamlike.hot.messagequeue cimport MessageQueue
from beamlike.hot.native cimport copy_context, get_ident, monotonic, poll_type, resume, set_outcomes, set_pending, word_of
from beamlike.hot.process cimport Process, make_process
from beamlike.hot.runqueue cimport RunQueue
from beamlike.hot.timers cimport Timer, Timers
from beamlike.hot.values cimport copy_argument, copy_value

cdef int DEAD, EXITING, PREEMPTED, RECEIVING, RUNNABLE, WAITING
cdef double INFINITY
cdef object EMPTY, PARK, FINISHED, Failed
cdef object rng, clock, _Coroutine
cdef int MESSAGES_A_STEP, MOST_STEPS_A_LOOK, MOST_LOOKS
cdef double LOOK_PERIOD

cdef object hooks
cdef NodeId origin
cdef Process newest
cdef long alive
cdef tuple NOTHING
cdef Timers timers
cdef Process current
cdef RunQueue runq
cdef unsigned long node_thread
cdef int messages_left
cdef bint is_idle
cdef long last_serial, steps
cdef object watched, intake
cdef dict stamps
cdef object layers_elsewhere
cdef long *stepped_word

cpdef Process current_process()
cpdef Process current_or_none()
cpdef Process caller(str what)
cpdef void check_thread(str what) except *
cpdef Process stepped()
cpdef void arm(Process process, double deadline) except *
cpdef object check_timeout(object timeout)
cpdef bint is_stepping() except -1
cpdef object outbox()
cdef object _restrained(Pid pid, object message)
cpdef object current_layers()
cpdef object layers_of(Process process)
cpdef object stamped(object message, tuple layers, object destination)
cpdef bint check(object kind, tuple what) except -1
cpdef Pid self_pid()
cpdef Ref make_ref()
cpdef double now() except? -1
cpdef Process new_process(object coro, tuple layers, Process parent)
cpdef object start_coroutine(object fn, tuple args)
cpdef void enqueue(Process process) except *
cpdef void deliver(Process process, object message) except *
cpdef void wake(Process process) except *
cdef object poll_receive(object awaitable)
cpdef void fire_timers(double time) except *
cpdef bint has_runnable() except -1
cpdef Process run_slice(double seconds)
cdef void stepped_out(Process process, object yielded) except *
cpdef void finish(Process process) except *
cpdef list close_node()
cpdef void bury(Process process) except *
cpdef void set_current(Process process) except *

cdef class Park:
    cdef bint yielded
