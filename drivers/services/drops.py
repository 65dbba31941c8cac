"""Why something that has come in is dropped."""

from __future__ import annotations

from enum import Enum, auto


class Drop(Enum):
    """What parsers return for what they do not take, and what is counted."""

    SHORT = auto()
    """It ends before what it says, or before its header does."""
    MALFORMED = auto()
    """What it says of itself cannot be."""
    CHECKSUM = auto()
    """It was changed on the way."""
    FRAGMENT = auto()
    """A part of a packet: they are not put together."""
    SOURCE = auto()
    """It says that it is from nobody who could have sent it: no host of this network, or this very one."""
    NOT_OURS = auto()
    """It is for another address, port or protocol."""
    CONFLICT = auto()
    """Somebody else says that he has this address."""
    FULL = auto()
    """Nobody has received those that came before."""
    UNSENT = auto()
    """The device did not take the answer to it."""
