"""What can go wrong with a system of nodes as a whole. It is raised in the program that started the system, by its owner."""

from __future__ import annotations

from typing import Any


class NodeLost(RuntimeError):  # noqa: N818 - named as `NodeDown` is: it says what happened
    """The node of `main` died before `main` had ended. `name`, and `reason` as in `NodeDown`."""

    def __init__(self, name: str, reason: Any) -> None:
        super().__init__(f"the node of main, {name}, was lost before main had ended: {_described(reason)}")
        self.name = name
        self.reason = reason


class StartError(RuntimeError):
    """The system could not be started: what the kernel refused, or the text of the error in the node that could not start."""


def _described(reason: Any) -> str:
    match reason:
        case ("signal", str(name)):
            return f"ended by {name}"
        case ("status", int(status)):
            return f"it exited with status {status}"
        case ("error", str(text)):
            return text
        case ("rehomed", str(text)):
            return f"it was to go on on another core: {text}"
        case _:
            return repr(reason)
