"""Builds unikernels._launch, the way from Python to launch.c: setup.py names `ffibuilder`, and the C compiler checks every declaration."""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef("""
    struct sock_fprog { unsigned short len; struct sock_filter *filter; ...; };

    typedef struct {
        int descriptors[6]; int image; uint64_t cores[16]; int user; int parent; int leaves_group; uint64_t memory; uint64_t cpu;
        struct sock_fprog filter; uint64_t nonce; const char *name; ...;
    } bl_launch;
    #define BL_IMAGE ...
    int bl_start(const bl_launch *how, const char **step);
""")

ffibuilder.set_source(
    "unikernels._launch",
    '#include "launch.h"\n',
    sources=["unikernels/launch.c"],
    depends=["unikernels/launch.h"],
    include_dirs=["unikernels"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall"],
)
