"""Memory: too much of it, and of kinds that are dangerous."""

from __future__ import annotations

import ctypes
import mmap

from walled import MEMORY, Prey, attack

from cells.syscalls import call

RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
FIXED, HUGETLB, LOCKED, GROWSDOWN = 0x10, 0x40000, 0x2000, 0x100
NO_FD = (1 << 64) - 1
MADV_HUGEPAGE, MADV_MERGEABLE = 14, 12


def map_memory(prot: int, flags: int, address: int = 0) -> int:
    return call("mmap", address, mmap.PAGESIZE, prot, flags, NO_FD, 0)


@attack("EPERM")
def map_memory_to_write_and_execute(prey: Prey) -> object:
    return map_memory(RWX, ANONYMOUS)


@attack("EPERM")
def make_memory_executable(prey: Prey) -> object:
    address = map_memory(mmap.PROT_READ | mmap.PROT_WRITE, ANONYMOUS)
    return call("mprotect", address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) == 0


@attack("EPERM")
def map_over_the_runtime(prey: Prey) -> object:
    address = map_memory(mmap.PROT_READ, ANONYMOUS)
    return map_memory(mmap.PROT_READ | mmap.PROT_WRITE, ANONYMOUS | FIXED, address) == address


@attack("EPERM")
def lock_memory(prey: Prey) -> object:
    return map_memory(mmap.PROT_READ | mmap.PROT_WRITE, ANONYMOUS | LOCKED)


@attack("EPERM")
def map_memory_that_grows_down(prey: Prey) -> object:
    return map_memory(mmap.PROT_READ | mmap.PROT_WRITE, ANONYMOUS | GROWSDOWN)


@attack("EPERM")
def have_the_kernel_compare_memory(prey: Prey) -> object:
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=ANONYMOUS)
    memory.madvise(MADV_MERGEABLE)
    return True


@attack("MemoryError")
def allocate_one_large_block(prey: Prey) -> object:
    return len(bytearray(4 * MEMORY))


@attack("MemoryError")
def allocate_many_small_objects(prey: Prey) -> object:
    hoard: list[object] = []
    while len(hoard) < 200_000:
        hoard.append(bytes(1000))
    return len(hoard)


@attack("MemoryError")
def double_a_string(prey: Prey) -> object:
    text = "!"
    for _ in range(28):
        text += text
    return len(text)


@attack("MemoryError")
def compute_a_number_without_end(prey: Prey) -> object:
    return (1 << (8 * 4 * MEMORY)).bit_length()


@attack("SIGSEGV", unlocked="SIGSEGV")
def follow_a_wild_pointer(prey: Prey) -> object:
    """Only it ends."""
    return ctypes.string_at(8)


@attack("SIGSEGV", unlocked="SIGSEGV")
def jump_into_data(prey: Prey) -> object:
    """Only it ends."""
    data = ctypes.create_string_buffer(b"\xc3" * 64)
    return ctypes.CFUNCTYPE(None)(ctypes.addressof(data))()
