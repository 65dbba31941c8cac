"""Reaching through /proc."""

from __future__ import annotations

import os

from walled import Prey, attack

MARK = b"the victim is a fork of the same OS process, and has this at the same place"


@attack("EPERM")
def read_its_own_map(prey: Prey) -> object:
    with open("/proc/self/maps") as file:
        return "libc" in file.read()


@attack("EPERM")
def write_its_own_constants(prey: Prey) -> object:
    constant = b"a constant that nobody may change"
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(id(constant) + bytes.__basicsize__ - 1)
        memory.write(b"A")
    return constant[:1] == b"A"


@attack("EPERM")
def read_the_memory_of_another(prey: Prey) -> object:
    with open(f"/proc/{prey.victim}/mem", "rb", buffering=0) as memory:
        memory.seek(id(MARK))
        return MARK in memory.read(256)


@attack("EPERM")
def list_the_descriptors_of_another(prey: Prey) -> object:
    return isinstance(os.listdir(f"/proc/{prey.victim}/fd"), list)


@attack("EPERM")
def read_the_environment_of_another(prey: Prey) -> object:
    with open(f"/proc/{prey.victim}/environ", "rb") as file:
        return file.read() or True


@attack("EPERM")
def reopen_a_descriptor_for_writing(prey: Prey) -> object:
    fd = os.open(f"/proc/self/fd/{prey.memfd}", os.O_RDWR)
    return os.write(fd, b"!")


@attack("EPERM")
def find_its_program(prey: Prey) -> object:
    return os.readlink("/proc/self/exe")
