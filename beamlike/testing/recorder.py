"""A process that records all it receives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from beamlike.exits import CallTimeoutError
from beamlike.hot.calls import Call, Caller, call, reply
from beamlike.hot.ids import Pid
from beamlike.hot.mailboxes import matcher
from beamlike.hot.scheduler import receive, spawn

MOST_SHOWN = 20  # messages in an error


class Recorder:
    """Spawns the process; give its `pid` to what is tested.

    It traps exits: it records the `Exit` of what is linked to it, and only `kill` ends it.

    Attributes:
        pid: of the process.
        messages: all it has received, oldest first. A call is recorded as the `Call` it is, and not answered.

    Args:
        name: registers the process.
    """

    def __init__(self, name: str | None = None) -> None:
        self.messages: list[Any] = []
        self._matches: dict[int, Callable[[Any], bool] | None] = {}
        self._waiting: dict[int, Caller] = {}
        self._numbers = itertools.count()
        self.pid: Pid = spawn(self._record, name=name)
        self.pid.process.trap_exit = True  # from the first moment on

    async def wait_for(self, match: Any = None, timeout: float = 1.0) -> Any:
        """The first of all messages, recorded already or to come, that matches. It stays in `messages`.

        Args:
            match: as for `receive`.
            timeout: seconds (virtual where the clock is).

        Raises: TimeoutError that shows what has come instead; CallError if the recorder has ended.
        """
        number = next(self._numbers)
        self._matches[number] = matcher(match)
        try:
            return await call(self.pid, ("beamlike.testing", number), timeout)
        except CallTimeoutError:
            shown = "".join(f"\n  {message!r}" for message in self.messages[-MOST_SHOWN:]) or " nothing"
            raise TimeoutError(
                f"no message that matches {match!r} was recorded in {timeout} s; what was (the last {MOST_SHOWN}):{shown}"
            ) from None
        finally:
            del self._matches[number]
            self._waiting.pop(number, None)

    async def _record(self) -> None:
        while True:
            match await receive():
                case Call(caller, ("beamlike.testing", int() as number)):
                    if number in self._matches and not any(self._answer(number, caller, message) for message in self.messages):
                        self._waiting[number] = caller
                case message:
                    self.messages.append(message)
                    for number, caller in list(self._waiting.items()):
                        if self._answer(number, caller, message):
                            self._waiting.pop(number, None)

    def _answer(self, number: int, caller: Caller, message: Any) -> bool:
        matches = self._matches.get(number)
        if matches is not None and not matches(message):
            return False
        reply(caller, message)
        return True
