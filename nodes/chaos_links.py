"""Faults of what one node sends to another, for `async with`; `chaos_ways` has what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodes.chaos_lasting import Lasting
from nodes.chaos_nodes import check_name, check_number
from nodes.chaos_ways import STRUCK, Corrupt, Delay, Drop, Tear

KINDS = tuple(STRUCK)
"""What may be struck: `message`, `call`, `answer`."""


def dropping(source: str, target: str, *, rate: float, kinds: Iterable[str] = KINDS, seed: int = 0) -> Lasting:
    """While an `async with` block lasts, records from one node to another are lost: their sender hears nothing, as nobody does.

    Mailboxes never do that, so this shows what the time-outs of a program are: a call that is dropped, or its answer, waits for its own.
    What the runtime's services (global names, groups, supervision over nodes) say and are told is not struck, for they count on it; nor
    are links, monitors and spawns, nor what had to wait for room in the mailbox. The two halves of a process pair count on it, too, and
    are struck.

    The fault is a process on `source`. It is over when the block is left, when who asked for it ends, or with `source`; it stays when
    `target` is started again or the connection is lost.

    Args:
        rate: the share of the records that are struck, 0 to 1.
        kinds: what may be struck: `message`, `call`, `answer`.
        seed: of the random numbers that choose.

    Raises: TypeError, ValueError; at the beginning of the block SpawnError if `source` is not up.
    """
    return _lasting("dropping", Drop, source, target, rate, kinds, seed)


def delaying(source: str, target: str, *, rate: float, seconds: float, kinds: Iterable[str] = KINDS, seed: int = 0) -> Lasting:
    """The same where a record is held up for `seconds`, and whatever is sent after it until then waits behind it, and goes with it: the
    order is kept. Where a fault between the two nodes begins or ends, what is held up goes.

    Args: `seconds`: more than 0. The others, and what is raised: as `dropping`.
    """
    check_number("delaying", "seconds", seconds)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"delaying: seconds is more than 0 and finite, not {seconds}")
    return _lasting("delaying", Delay, source, target, rate, kinds, seed, seconds)


def corrupting(source: str, target: str, *, rate: float, kinds: Iterable[str] = KINDS, seed: int = 0) -> Lasting:
    """The same where one bit of a record is changed in the ring. The reader finds that, by the checksum, and the connection is lost with
    what was committed behind it: who depends on it gets `noconnection`. It is opened anew when it is needed.

    Records of more than 16 KB are not struck. Args and raises: as `dropping`.
    """
    return _lasting("corrupting", Corrupt, source, target, rate, kinds, seed)


def tearing(source: str, target: str, *, at: int, kinds: Iterable[str] = KINDS) -> Lasting:
    """The same for the first record only: `source` is killed when the first `at` bytes of it are in the ring. Nobody sees any of it.

    Records of more than 16 KB are not struck.

    Args: `at`: bytes, of 40 of the header and then the payload; all of the record if that is shorter, which is not published then either.
    """
    if type(at) is not int:
        raise TypeError(f"tearing: at is a number of bytes, an int, not {at!r}")
    if at < 0:
        raise ValueError(f"tearing: at is at least 0 bytes, not {at}")
    return _lasting("tearing", Tear, source, target, 1.0, kinds, 0, at)


def _lasting(what: str, kind: Any, source: str, target: str, rate: float, kinds: Iterable[str], seed: int, *rest: Any) -> Lasting:
    for name in (source, target):
        check_name(what, name)
    if source == target:
        raise ValueError(f"{what}: faults are in what one node sends to another, and {source} is one")
    check_number(what, "rate", rate)
    if not 0 <= rate <= 1:
        raise ValueError(f"{what}: rate is a share from 0 to 1, not {rate}")
    if isinstance(kinds, str):
        raise TypeError(f"{what}: kinds are several, ({kinds!r},) for example, not {kinds!r}")
    kinds = tuple(kinds)
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"{what}: kinds are of {', '.join(KINDS)}, at least one, not {kinds!r}")
    if type(seed) is not int:
        raise TypeError(f"{what}: seed is an int, not {seed!r}")
    return Lasting(source, kind, target, rate, kinds, seed, *rest)
