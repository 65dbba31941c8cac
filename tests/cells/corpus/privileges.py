"""Taking walls down from inside, one by one."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from walled import Prey, attack, checked, libc, syscall

from cells.syscalls import call

SET_PDEATHSIG, SET_DUMPABLE, SET_NO_NEW_PRIVS = 1, 4, 38
SECCOMP, CAPGET, PERSONALITY = 317, 125, 135
SECCOMP_GET_ACTION_AVAIL = 2
ALLOW_ALL = (0x06).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little")


@attack("EPERM")
def outlive_its_parent(prey: Prey) -> object:
    return call("prctl", SET_PDEATHSIG, 0, 0, 0, 0) == 0


@attack("EPERM")
def become_dumpable(prey: Prey) -> object:
    return call("prctl", SET_DUMPABLE, 1, 0, 0, 0) == 0


@attack("EPERM")
def install_a_second_filter(prey: Prey) -> object:
    code = ctypes.create_string_buffer(ALLOW_ALL, 8)
    program = (1).to_bytes(8, "little") + ctypes.addressof(code).to_bytes(8, "little")
    call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return syscall(SECCOMP, 1, 0, program) == 0


@attack("EPERM")
def ask_about_its_filter(prey: Prey) -> object:
    return syscall(SECCOMP, SECCOMP_GET_ACTION_AVAIL, 0, (0x7FFF0000).to_bytes(4, "little")) == 0


@attack("EPERM")
def change_its_own_landlock(prey: Prey) -> object:
    call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    ruleset = call("landlock_create_ruleset", (1).to_bytes(8, "little"), 8, 0)
    return call("landlock_restrict_self", ruleset, 0) == 0


@attack("EPERM")
def raise_its_limits(prey: Prey) -> object:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return True


@attack("EPERM", needs="root")
def be_root_again(prey: Prey) -> object:
    os.setuid(0)
    return os.geteuid() == 0


@attack("nothing", needs="root")
def be_root(prey: Prey) -> object:
    return os.geteuid() == 0


@attack("EPERM", needs="root")
def join_a_group(prey: Prey) -> object:
    os.setgroups([0])
    return os.getgroups() == [0]


@attack("EPERM")
def tell_its_capabilities(prey: Prey) -> object:
    data = ctypes.create_string_buffer(24)
    return syscall(CAPGET, (0x20080522).to_bytes(4, "little") + bytes(4), ctypes.addressof(data)) == 0


@attack("EPERM")
def switch_address_randomization_off(prey: Prey) -> object:
    syscall(PERSONALITY, 0x0040000)
    return syscall(PERSONALITY, 0xFFFFFFFF) == 0x0040000


@attack("EPERM")
def replace_the_handler_of_violations(prey: Prey) -> object:
    return signal.signal(signal.SIGSYS, signal.SIG_IGN) is not None


@attack("EPERM")
def replace_it_through_ctypes(prey: Prey) -> object:
    return checked(libc.sigaction(signal.SIGSYS, bytes(152), None)) == 0


@attack("SIGSYS", unlocked="status 7")
def block_the_signal_of_violations(prey: Prey) -> object:
    """The kernel then ends it without the handler."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.execv("/bin/sh", ["sh", "-c", "exit 7"])


@attack("status 159", unlocked="SIGSYS")
def feign_a_violation(prey: Prey) -> object:
    """It ends, and is not taken for one."""
    signal.raise_signal(signal.SIGSYS)
    return False
