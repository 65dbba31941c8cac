"""Builds drivers._portbus, the way from Python to the port bus: setup.py names `ffibuilder`, and the C compiler checks every declaration.

Each model in `models/` says in its header how it is plugged in and what the host may do to it; these declarations are taken from there.
"""

from glob import glob

from cffi import FFI

ffibuilder = FFI()

MODELS = sorted(glob("drivers/models/*.h"))


def declarations(header: str) -> str:
    """What a header of a model declares: it holds nothing but plain declarations, besides lines for the preprocessor."""
    with open(header) as file:
        return "".join(line for line in file if not line.startswith("#"))


ffibuilder.cdef("""
    typedef struct { uint64_t first, last; } bl_range;
    typedef struct { uint32_t count; const bl_range *memory; ...; } bl_view;
    void bl_refuse_ports(bl_view *view, uint32_t first, uint32_t last);
    int bl_may_port(const bl_view *view, int64_t port, unsigned width);
    int bl_may_memory(const bl_view *view, uint64_t address, uint64_t length);

    #define BL_NEWS ...
    enum { BL_ONES, BL_ZEROS, BL_LOSE, BL_MISSING, BL_DEAF, ... };
    enum { BL_POWER_OFF, BL_RESET, BL_DEBUG_EXIT, ... };
    typedef struct { int kind; uint32_t first, last, mask; int64_t skip, count; } bl_fault;
    typedef struct { uint32_t line; int64_t at; uint64_t number; } bl_event;
    typedef struct { int64_t now; uint64_t lost_events; int32_t stopped, stop_status, clash; unsigned device_count; ...; } bl_bus;
    typedef struct { ...; } bl_device;

    bl_bus *bl_new(uint64_t memory_size);
    void bl_free(bl_bus *bus);
    int64_t bl_in(bl_bus *bus, const bl_view *view, int64_t port, unsigned width);
    int64_t bl_out(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, int64_t value);
    int64_t bl_in_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, uint8_t *to, size_t units);
    int64_t bl_out_block(bl_bus *bus, const bl_view *view, int64_t port, unsigned width, const uint8_t *from, size_t units);
    int64_t bl_read(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width);
    int64_t bl_write(bl_bus *bus, const bl_view *view, uint64_t address, unsigned width, int64_t value);
    int64_t bl_load(bl_bus *bus, const bl_view *view, uint64_t address, uint8_t *to, size_t size);
    int64_t bl_store(bl_bus *bus, const bl_view *view, uint64_t address, const uint8_t *from, size_t size);
    int64_t bl_advance(bl_bus *bus, int64_t until);
    int bl_event_next(bl_bus *bus, bl_event *event);
    int bl_fault_add(bl_bus *bus, bl_fault fault);
    void bl_fault_clear(bl_bus *bus);
    void bl_withdraw(bl_bus *bus, unsigned first);

    int bl_io_ask(volatile uint32_t *block, uint32_t command, uint32_t width, uint32_t at, uint32_t value, uint32_t looks);

    int bl_machine_permit(unsigned first, unsigned count);
    uint32_t bl_machine_in(unsigned port, unsigned width);
    void bl_machine_out(unsigned port, unsigned width, uint32_t value);
    void bl_machine_in_block(unsigned port, unsigned width, void *to, size_t units);
    void bl_machine_out_block(unsigned port, unsigned width, const void *from, size_t units);

    extern "Python+C" {
        uint32_t bl_custom_in(uint64_t handle, unsigned port, unsigned width);
        void bl_custom_out(uint64_t handle, unsigned port, unsigned width, uint32_t value);
        void bl_custom_run(uint64_t handle);
    }

    int bl_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);
    int bl_rdtsc(uint64_t *value);
""")
for each in MODELS:
    ffibuilder.cdef(declarations(each))

ffibuilder.set_source(
    "drivers._portbus",
    '#include "bus.h"\n#include "mailslot.h"\n#include "machine.h"\n#include "processor.h"\n#include "python_calls.h"\n'
    + "".join(f'#include "{each.removeprefix("drivers/")}"\n' for each in MODELS),
    sources=[*sorted(glob("drivers/c/*.c")), *sorted(glob("drivers/models/*.c"))],
    depends=[*sorted(glob("drivers/c/*.h")), *MODELS],
    include_dirs=["drivers/c", "drivers/models", "drivers"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)
