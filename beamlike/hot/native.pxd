# C declarations of native.h, for the compiled hot path.
ctypedef object (*poll_function)(object)

cdef extern from "native.h":
    object resume "bl_resume" (object coro, object context)
    void set_outcomes "bl_set_outcomes" (object finished, object failed)
    void set_pending "bl_set_pending" (object pending)
    unsigned long get_ident "bl_get_ident" ()
    double monotonic "bl_monotonic" ()
    long *word_of "bl_word_of" (object memory) except? NULL
    void poll_type "bl_poll_type" (object type, int slot, poll_function poll)

cdef extern from "Python.h":
    object copy_context "PyContext_CopyCurrent" ()
