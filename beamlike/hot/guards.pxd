cimport cython
from beamlike.hot.ids cimport Pid
from beamlike.hot.process cimport Process

cdef Py_ssize_t _most_guards, _most_permits
cdef object _Pid, _Str, _Int, _None
cdef dict _guards
cdef tuple _last_layers
cdef Guard _last_guard

cdef class Guard:
    cdef public set accesses
    cdef public dict targets

cpdef Guard guard_of(tuple layers)
cpdef void require(tuple layers, object kind, tuple what) except *
cpdef bint is_exact(tuple what) except -1
@cython.locals(targets=dict)
cpdef void require_target(tuple layers, Pid pid, Process sender) except *
cpdef bint is_service(Process process) except -1
cpdef bint acts_as_service(Process process) except -1
cpdef object name_of(Pid pid)
cpdef tuple known_as(Pid pid)
