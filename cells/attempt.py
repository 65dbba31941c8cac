"""Trying something that may end, lock or hang an OS process: in a fork of this one."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 10.0  # seconds; an attempt takes milliseconds


class Outcome(NamedTuple):
    """How it ended (`os.waitstatus_to_exitcode`), what it returned or None, and what it raised or None."""

    status: int
    said: str | None
    raised: str | None


def attempt(body: Callable[[], str]) -> Outcome:
    """Call it in a fork, which then ends. Blocks until every OS process that the fork made is gone, too, and kills the fork if it hangs.

    Raises: OSError if there can be no fork; TimeoutError if it hangs.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_attempt(body, writing)
    os.close(writing)
    heard = bytearray()
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    try:
        while poll.poll(PATIENCE * 1000):
            if not (chunk := os.read(reading, 65536)):
                break
            heard += chunk
        else:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(f"an attempt that takes milliseconds is not over after {PATIENCE} s")
    finally:
        os.close(reading)
        _, status = os.waitpid(pid, 0)
    kind, text = heard[:1], heard[1:].decode(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(status), text if kind == b"+" else None, text if kind == b"-" else None)


def _be_attempt(body: Callable[[], str], writing: int) -> None:
    try:
        os.write(writing, b"+" + body().encode())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent hears of it, and this OS process ends
        os.write(writing, b"-" + (str(error) or repr(error)).encode())
    finally:
        os._exit(1)
