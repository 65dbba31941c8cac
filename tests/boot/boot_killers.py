"""Cores that are killed from outside, as OS processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

LOOK = 0.001


def descendants(root: int | None = None) -> set[int]:
    """OS processes below this one, or that one."""
    found: set[int] = set()
    left = [root or os.getpid()]
    while left:
        try:
            for file in Path(f"/proc/{left.pop()}/task").glob("*/children"):
                below = {int(pid) for pid in file.read_text().split()}
                found |= below
                left += below
        except OSError:
            continue  # it has ended meanwhile
    return found


def is_alive(pid: int) -> bool:
    """Not a zombie, either."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


class Killer:
    """A thread that kills the OS process of a core of ours, so long after it was seen first. `hit` says whether it did."""

    def __init__(self, core: int, delay: float) -> None:
        self.hit = False
        self._name = f"core {core}\n"
        self._delay = delay
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK):
            for pid in descendants():
                try:
                    if Path(f"/proc/{pid}/comm").read_text() != self._name:
                        continue
                    time.sleep(self._delay)
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
                self.hit = True
                return
