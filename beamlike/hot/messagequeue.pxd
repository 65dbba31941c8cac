cdef int MOST_GONE

cdef class MessageQueue:
    cdef list items
    cdef Py_ssize_t head
    cpdef void append(self, object message) except *
    cpdef object popleft(self)
