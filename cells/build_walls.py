"""Builds cells._walls, the way from Python to walls.c: setup.py names `ffibuilder`, and the C compiler checks every declaration."""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef("""
    long bl_syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f);
    int bl_trap(const uint32_t *numbers, unsigned count, int first_status);

    struct sock_fprog { unsigned short len; struct sock_filter *filter; ...; };

    typedef struct { long number; uintptr_t arguments[6]; } bl_call;
    #define BL_RESULT ...
    unsigned bl_make(const bl_call *calls, unsigned count, int *error);
    int64_t bl_address_space(void);

    int fork(void);
""")

ffibuilder.set_source(
    "cells._walls",
    '#include <unistd.h>\n#include "walls.h"\n',
    sources=["cells/walls.c"],
    depends=["cells/walls.h"],
    include_dirs=["cells"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall"],
)
