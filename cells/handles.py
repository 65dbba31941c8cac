"""The pids that a cell was handed, as numbers of its own (a C-list): it can name no other."""

from __future__ import annotations

from typing import Final

from beamlike import Pid

NOBODY: Final = 0  # the handle of who calls: a cell learns of nobody but those whom it is handed
MOST_HANDLES = 65_536


class TooManyError(Exception):
    """The cell was handed more pids than are kept."""


class Handles:
    """Handles count from 1 and are never given anew."""

    def __init__(self) -> None:
        self.pids: list[Pid] = []  # that of handle 1 first
        self._numbers: dict[Pid, int] = {}

    def number(self, pid: Pid) -> int:
        """The handle of a pid, which the cell has from now on. Raises: TooManyError."""
        number = self._numbers.get(pid)
        if number is None:
            if len(self.pids) == MOST_HANDLES:
                raise TooManyError
            self.pids.append(pid)
            number = self._numbers[pid] = len(self.pids)
        return number

    def pid(self, number: int) -> Pid | None:
        """Whose handle this is; None if it is nobody's: it was forged."""
        return self.pids[number - 1] if 0 < number <= len(self.pids) else None
