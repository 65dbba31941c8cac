"""Doors of the kernel with a history."""

from __future__ import annotations

import ctypes
import os
import socket

from walled import Prey, attack, syscall

SHMGET, GETPID, SYSLOG, MODIFY_LDT, ADJTIMEX, MOUNT, UMOUNT2, FUTEX, ADD_KEY = 29, 39, 103, 154, 159, 165, 166, 202, 248
KEYCTL, UNSHARE, PERF_EVENT_OPEN, GETCPU, BPF, USERFAULTFD, MEMBARRIER = 250, 272, 298, 309, 321, 323, 324
IO_URING_SETUP, OPEN_TREE, FSOPEN = 425, 428, 430
X32 = 0x40000000
FUTEX_LOCK_PI = 6


@attack("ends: bpf", needs="root")
def load_a_bpf_map(prey: Prey) -> object:
    return syscall(BPF, 0, (2).to_bytes(4, "little") + (4).to_bytes(4, "little") * 3 + bytes(112), 128) >= 0


@attack("ends: userfaultfd", needs="root")
def handle_page_faults(prey: Prey) -> object:
    return syscall(USERFAULTFD, 0) >= 0


@attack("ends: io_uring_setup")
def make_an_io_uring(prey: Prey) -> object:
    return syscall(IO_URING_SETUP, 4, bytes(120)) >= 0


@attack("ends: add_key")
def add_a_key(prey: Prey) -> object:
    return syscall(ADD_KEY, b"user\0", b"beamlike\0", b"!", 1, (1 << 64) - 1)


@attack("ends: keyctl")
def use_a_keyring(prey: Prey) -> object:
    return syscall(KEYCTL, 0, (1 << 64) - 1, 1)


@attack("ends: perf_event_open", needs="root")
def count_events(prey: Prey) -> object:
    software_clock = (1).to_bytes(4, "little") + (128).to_bytes(4, "little") + bytes(120)
    return syscall(PERF_EVENT_OPEN, software_clock, 0, (1 << 64) - 1, (1 << 64) - 1, 0) >= 0


@attack("ends: mount")
def mount_a_filesystem(prey: Prey) -> object:
    return syscall(MOUNT, b"none\0", b"/proc\0", b"tmpfs\0", 0, 0) == 0


@attack("ends: umount2")
def unmount_a_filesystem(prey: Prey) -> object:
    return syscall(UMOUNT2, b"/proc\0", 2) == 0


@attack("ends: fsopen")
def open_a_filesystem(prey: Prey) -> object:
    return syscall(FSOPEN, b"tmpfs\0", 0) >= 0


@attack("ends: open_tree", needs="root")
def clone_a_mount(prey: Prey) -> object:
    return syscall(OPEN_TREE, (1 << 64) - 100, b"/\0", 1) >= 0


@attack("ends: unshare")
def make_a_user_namespace(prey: Prey) -> object:
    return syscall(UNSHARE, 0x10000000) == 0


@attack("EPERM")
def lend_its_priority(prey: Prey) -> object:
    word = ctypes.c_uint32(0)
    return syscall(FUTEX, ctypes.addressof(word), FUTEX_LOCK_PI, 0, 0, 0, 0) == 0


@attack("EPERM")
def change_its_segments(prey: Prey) -> object:
    return syscall(MODIFY_LDT, 0, ctypes.addressof(ctypes.create_string_buffer(16)), 16) >= 0


@attack("EPERM")
def order_all_cores(prey: Prey) -> object:
    return syscall(MEMBARRIER, 0, 0, 0) >= 0


@attack("EPERM", needs="root")
def read_the_log_of_the_kernel(prey: Prey) -> object:
    return syscall(SYSLOG, 10, 0, 0) > 0


@attack("EPERM")
def make_system_v_memory(prey: Prey) -> object:
    return syscall(SHMGET, 0, 4096, 0o1600) >= 0


@attack("EPERM")
def tell_the_kernel(prey: Prey) -> object:
    return os.uname().release


@attack("EPERM", needs="root")
def rename_the_machine(prey: Prey) -> object:
    socket.sethostname("cell")
    return socket.gethostname() == "cell"


@attack("EPERM")
def ask_for_the_state_of_the_clock(prey: Prey) -> object:
    return syscall(ADJTIMEX, bytes(208)) >= 0


@attack("EPERM")
def tell_its_core(prey: Prey) -> object:
    return syscall(GETCPU, bytes(4), 0, 0) == 0


@attack("SIGSYS")
def use_the_numbers_of_x32(prey: Prey) -> object:
    """A kernel without x32 answers ENOSYS, which is an answer."""
    try:
        return syscall(X32 | GETPID)
    except OSError as error:
        if error.errno == 38:
            return True
        raise


@attack("SIGSYS")
def use_the_numbers_of_i386(prey: Prey) -> object:
    """A kernel without its numbers answers -ENOSYS."""
    entry = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(prey.code)))
    return entry() != 0


@attack("succeeded")
def use_a_number_that_is_none(prey: Prey) -> object:
    """It gains nothing, and learns that there is a filter."""
    try:
        return syscall(0x3FFFFFFF)
    except OSError as error:
        return error.errno in (1, 38)
