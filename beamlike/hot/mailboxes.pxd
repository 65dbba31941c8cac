cimport cython

from beamlike.hot.process cimport Process
from beamlike.hot.uninterrupted cimport forbid_preemption
from beamlike.hot.values cimport copy_value

cdef object EMPTY

cpdef object take(Process process)
@cython.locals(index=Py_ssize_t)
cpdef object take_matching(Process process, object matches, Py_ssize_t scanned)
cdef object _message_at(Process process, Py_ssize_t index)
cdef bint _remove(Process process, Py_ssize_t index, object message) except -1
cpdef Py_ssize_t mailbox_length(Process process) except -1
