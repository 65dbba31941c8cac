"""The mailbox of a process: what is in it, and taking messages out, the oldest or the oldest that matches (M3).

It is two places of the record, `first` and `mailbox` (see process.py); nobody else looks at both. `scheduler.deliver` puts messages in.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from types import UnionType
from typing import TYPE_CHECKING, Any

from beamlike.hot.process import EMPTY, Process
from beamlike.hot.uninterrupted import forbid_preemption
from beamlike.hot.values import copy_value

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS = (type, UnionType)


def take(process: Process) -> Any:
    """The oldest message, out of the mailbox; EMPTY if there is none."""
    message = process.first
    mailbox = process.mailbox
    if message is EMPTY:
        if mailbox is None:
            return EMPTY
        message = mailbox.popleft()
    else:
        process.first = EMPTY
    if mailbox is not None and not mailbox:
        process.mailbox = None
    return message


def take_matching(process: Process, matches: Callable[[Any], bool], scanned: Any) -> Any:
    """The oldest message that matches among those after the first `scanned`, out of the mailbox; EMPTY if there is none."""
    index = scanned
    forbid_preemption(True)
    try:
        while index < mailbox_length(process):  # which `matches` may change
            message = _message_at(process, index)
            if matches(message):
                if _remove(process, index, message):
                    return message
            elif _message_at(process, index) is message:
                index += 1
    finally:
        forbid_preemption(False)
    return EMPTY


def _message_at(process: Process, index: Any) -> Any:
    """The message at a place of the mailbox; EMPTY if there is none (any more)."""
    if process.first is not EMPTY:
        if index == 0:
            return process.first
        index -= 1
    queue = process.mailbox
    return EMPTY if queue is None or index >= len(queue) else queue[index]


def _remove(process: Process, index: Any, message: Any) -> bool:
    """Take this very message out, which was at `index`. False if it is gone: a full mailbox dropped it meanwhile."""
    while _message_at(process, index) is not message:
        if index == 0:
            return False
        index -= 1
    if process.first is not EMPTY:
        if index == 0:
            process.first = EMPTY
            return True
        index -= 1
    queue: Any = process.mailbox
    del queue[index]
    if len(queue) == 0:
        process.mailbox = None
    return True


def mailbox_length(process: Process) -> int:
    """How many messages wait."""
    return (process.first is not EMPTY) + (0 if process.mailbox is None else len(process.mailbox))


def mailbox_messages(process: Process, most: int) -> list[Any]:
    """The oldest `most` messages, left in place."""
    messages = [] if process.first is EMPTY else [process.first]
    if process.mailbox is not None:
        messages += [process.mailbox[i] for i in range(min(most, len(process.mailbox)))]
    return messages[:most]


def matcher(match: Any) -> Callable[[Any], bool] | None:
    """The predicate that `match` of `receive` stands for. TypeError if it stands for none."""
    if match is None:
        return None
    if isinstance(match, _KINDS):
        kind: Any = match
        return lambda message: isinstance(message, kind)
    if isinstance(match, tuple):
        prefix = match
        for part in prefix:
            _check_part(part)

        def matches(message: Any) -> bool:
            if type(message) is not tuple or len(message) < len(prefix):
                return False
            for expected, part in zip(prefix, message, strict=False):
                if isinstance(expected, _KINDS):
                    if not isinstance(part, expected):
                        return False
                elif expected != part:
                    return False
            return True

        return matches
    if iscoroutinefunction(match):
        raise TypeError(f"receive: {match!r} is async; a predicate answers at once: write `def`")
    if callable(match):
        return match  # type: ignore[no-any-return]
    raise TypeError(f"receive: match is a type, a predicate or a tuple prefix, not {match!r}")


def _check_part(part: Any) -> None:
    """TypeError for a part of a prefix that would never match."""
    if isinstance(part, _KINDS):
        return
    try:
        copy_value(part)
    except TypeError as error:
        raise TypeError(
            f"receive: {part!r} in match can be in no message ({error}); a prefix has types (`object` for anything) and constants"
        ) from None
