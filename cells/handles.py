"""The pids that a cell was handed, as numbers of its own (a C-list): it can name no other."""

from __future__ import annotations

from typing import Final

from beamlike import Pid
from beamlike.seam import NodeId

NOBODY: Final = 0  # the handle of who calls: a cell learns of nobody but those whom it is handed
MOST_HANDLES: Final = 65_536  # of processes that may be alive
FEWEST: Final = 1024  # before it is worth a look who has ended


class TooManyError(Exception):
    """The cell was handed more pids than are kept."""


class Handles:
    """Handles count from 1 and are never given anew. Those of processes that have ended are forgotten when there are twice as many as there
    were alive at the last look; of who is on another node it is not known.

    Args:
        here: the node.
    """

    def __init__(self, here: NodeId) -> None:
        self.pids: dict[int, Pid] = {}
        self._numbers: dict[Pid, int] = {}
        self.nobody = Pid(here, 0)  # who has ended, as all others here that are not alive
        self._last = 0
        self._look_at = FEWEST

    def number(self, pid: Pid) -> int:
        """The handle of a pid, which the cell has from now on. Raises: TooManyError."""
        number = self._numbers.get(pid)
        if number is None:
            if len(self.pids) >= self._look_at:
                self._forget_ended()
            number = self._last = self._numbers[pid] = self._last + 1
            self.pids[number] = pid
        return number

    def pid(self, number: int) -> Pid | None:
        """Whose handle this is, `nobody` for one that was forgotten. None: it was forged."""
        return self.pids.get(number, self.nobody if 0 < number <= self._last else None)

    def _forget_ended(self) -> None:
        ended = [number for number, pid in self.pids.items() if pid.process is None and pid.origin == self.nobody.origin]
        for number in ended:
            del self._numbers[self.pids.pop(number)]
        if len(self.pids) >= MOST_HANDLES:
            raise TooManyError
        self._look_at = max(FEWEST, 2 * len(self.pids))
