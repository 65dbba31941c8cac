"""Signals to itself, and timers."""

from __future__ import annotations

import os
import signal
import time

from walled import Prey, attack, syscall

TIMER_CREATE, TGKILL = 222, 234


@attack("EPERM")
def set_an_alarm(prey: Prey) -> object:
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 60)
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


@attack("EPERM")
def make_a_timer(prey: Prey) -> object:
    return syscall(TIMER_CREATE, time.CLOCK_MONOTONIC, None, bytes(8)) == 0


@attack("EPERM")
def wait_for_a_signal(prey: Prey) -> object:
    return signal.sigtimedwait([signal.SIGUSR1], 0) is None


@attack("SIGABRT", unlocked="SIGABRT")
def abort(prey: Prey) -> object:
    """Only it ends."""
    os.abort()


@attack("SIGKILL", unlocked="SIGKILL")
def kill_itself(prey: Prey) -> object:
    """Only it ends."""
    syscall(TGKILL, os.getpid(), os.getpid(), signal.SIGKILL)
    return False


@attack("EPERM")
def signal_its_own_group(prey: Prey) -> object:
    os.killpg(0, 0)
    return True
