"""The bell of a cell."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Bell:
    """An eventfd that only this cell reads, and what it is waited for with."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)

    def close(self) -> None:
        """The descriptor stays its maker's."""
        self._epoll.close()

    def wait(self, seconds: float | None) -> None:
        """Until it is rung."""
        if self._epoll.poll(seconds):
            with suppress(BlockingIOError):
                os.eventfd_read(self.fd)
