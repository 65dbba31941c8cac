from beamlike.hot.process cimport Process

cdef class RunQueue:
    cdef Process head, tail
    cdef public long length
    cpdef void append(self, Process process) noexcept
    cpdef Process popleft(self)
    cpdef void rotate(self, long steps) except *
    cpdef void clear(self) except *
