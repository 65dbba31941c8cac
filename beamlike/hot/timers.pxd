from beamlike.hot.process cimport Process

cdef int DEAD
cdef double INFINITY
cdef long STALE_MINIMUM
cdef object heappush, heappop, heapify

cdef class Timer:
    cdef public object ref, destination, message, owner
    cdef public double period, when
    cdef public tuple layers

cdef class Timers:
    cdef public list heap
    cdef public double soonest
    cdef public long sequence, stale
    cpdef void push(self, double when, object entry) except *
    cpdef void arm(self, Process process, double deadline) except *
    cpdef void forget(self) except *
    cpdef object pop_due(self, double now)

cdef bint _is_live(double when, object entry) except -1
