"""Builds nodes._ring, the way from Python to ring.c: setup.py names `ffibuilder`, and the C compiler checks every declaration."""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef("""
    enum { BL_EIO, BL_EAGAIN, BL_EBUSY, BL_EINVAL, BL_EBADMSG, BL_EMSGSIZE, BL_EPROTONOSUPPORT, BL_ENOBUFS };
    #define BL_PAGE ...

    typedef struct { uint32_t length; uint8_t kind; uint8_t flags; uint64_t to; uint64_t from; uint64_t ref; ...; } bl_record;
    typedef struct { uint64_t tail; uint64_t head; uint32_t capacity; uint32_t sequence; int32_t broken; ...; } bl_writer;
    typedef struct { uint64_t tail; uint64_t head; uint64_t gathered; uint32_t capacity; uint32_t sequence; int32_t broken;
                     ...; } bl_reader;
    typedef struct { bl_reader **readers; uint32_t size; uint32_t next; } bl_set;

    uint64_t bl_pair_size(uint32_t capacity0, uint32_t capacity1);
    int bl_pair_format(void *memory, uint64_t size, uint32_t capacity0, uint32_t capacity1);
    int bl_open(void *memory, uint64_t size, unsigned side, uint32_t longest, bl_writer *writer, bl_reader *reader);
    uint32_t bl_largest(uint32_t capacity);

    int bl_write(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
                 const uint8_t *data, uint32_t length);
    int bl_write_part(bl_writer *w, uint8_t kind, uint8_t flags, uint64_t to, uint64_t from, uint64_t ref,
                      const uint8_t *data, uint32_t length, uint32_t *offset);
    int bl_await_room(bl_writer *w);

    int64_t bl_read(bl_reader *r, bl_record *record, uint8_t *buffer, size_t capacity);
    int bl_sleep(bl_reader *r);
    void bl_wake(bl_reader *r);
    int bl_room_wanted(bl_reader *r);

    int bl_set_poll(bl_set *set, uint32_t spins);
    int bl_set_sleep(bl_set *set);
    void bl_set_wake(bl_set *set);

    uint32_t bl_crc32c(const void *data, size_t length);
    uint32_t bl_crc32c_table(const void *data, size_t length);

    void *mmap(void *address, size_t length, int protection, int flags, int descriptor, long offset);
    int munmap(void *address, size_t length);
""")

ffibuilder.set_source(
    "nodes._ring",
    '#include <sys/mman.h>\n#include "ring.h"\n',
    sources=["nodes/ring.c"],
    depends=["nodes/ring.h"],
    include_dirs=["nodes"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall"],
)
