cdef class NodeId:
    cdef readonly str name
    cdef readonly long incarnation
    cdef public object peer

cdef class Pid:
    cdef readonly NodeId origin
    cdef readonly long serial
    cdef public object process

cdef class Ref:
    cdef readonly NodeId origin
    cdef readonly long serial

cpdef Pid make_pid(NodeId origin, long serial)
cpdef Ref make_ref_of(NodeId origin, long serial)
