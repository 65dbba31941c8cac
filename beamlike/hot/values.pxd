cimport cython

cdef type _Pid
cdef object _MISSING
cdef set _atoms
cdef dict _shapes
cdef dict _named
cdef int _max_depth, _sized_depth
cdef int _part_size

cdef class Shape:
    cdef readonly object kind  # not `type`: a class made by a metaclass is none to Cython
    cdef readonly str name
    cdef readonly tuple fields
    cdef readonly bint frozen
    cdef readonly bint slotted

    cpdef object build(self, list parts)

cpdef object copy_value(object value)
cpdef object copy_argument(object value)
cpdef Py_ssize_t size_of(object value) except -1
cpdef Shape shape_of(object kind)

@cython.locals(shape=Shape)
cdef object _copy(object value, object root, int depth, bint lenient)

@cython.locals(index=Py_ssize_t, parts=list)
cdef tuple _copy_tuple(tuple value, object root, int depth, bint lenient)

@cython.locals(index=Py_ssize_t, made=list)
cdef list _copy_list(list value, object root, int depth, bint lenient)

@cython.locals(made=dict, same_keys=bint)
cdef dict _copy_dict(dict value, object root, int depth, bint lenient)

@cython.locals(parts=list, same=bint)
cdef object _copy_set(object value, object root, int depth, bint lenient)

@cython.locals(parts=list, same=bint, field=str)
cdef object _copy_record(object value, Shape shape, object root, int depth, bint lenient)

cdef bint _is_rare_atom(object value) except -1

@cython.locals(total=Py_ssize_t, bits=Py_ssize_t, shape=Shape, field=str)
cdef Py_ssize_t _size(object value, object root, int depth) except -1
