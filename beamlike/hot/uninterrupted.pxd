cdef int depth

cpdef void forbid_preemption(bint forbid) noexcept
cpdef bint may_preempt() noexcept
