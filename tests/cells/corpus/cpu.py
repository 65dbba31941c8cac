"""Time on the processors."""

from __future__ import annotations

import os
import signal
import time

from walled import CPU, Prey, attack, syscall

SCHED_SETATTR = 314


def burn(seconds: float) -> bool:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return True


@attack("SIGXCPU")
def loop_for_ever(prey: Prey) -> object:
    return burn(CPU + 0.2)


@attack("SIGKILL")
def block_the_signal_of_the_limit(prey: Prey) -> object:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return burn(CPU + 1.2)


@attack("EPERM")
def ignore_the_signal_of_the_limit(prey: Prey) -> object:
    return signal.signal(signal.SIGXCPU, signal.SIG_IGN) is not None


@attack("EPERM")
def move_to_another_core(prey: Prey) -> object:
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    return True


@attack("EPERM", needs="root")
def run_before_all_others(prey: Prey) -> object:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return os.sched_getscheduler(0) == os.SCHED_FIFO


@attack("EPERM", needs="root")
def raise_its_priority(prey: Prey) -> object:
    return os.nice(-5) < 0


@attack("EPERM")
def ask_for_deadlines(prey: Prey) -> object:
    return syscall(SCHED_SETATTR, 0, (48).to_bytes(4, "little") + bytes(44), 0) == 0
