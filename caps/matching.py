"""What a kind's way of matching must be able to do.

Theory of operation: the operands of all terms of one kind in one layer become one `Cover`, a canonical set. An access
is brought to a canonical form once (`Matching.access`) and then put to each cover: an exclusion refuses what its
cover *overlaps*, an only entry permits what its cover *contains* (C3). The two differ where an access has extent: a
range of ports, a file opened to read and to write, all hosts at one port.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from operator import index
from typing import Any, Generic, TypeAlias, TypeVar

Operands: TypeAlias = tuple[Any, ...]
"""A term without its kind."""

ALL: Operands = ("all",)

Access = TypeVar("Access")
AccessIn = TypeVar("AccessIn", contravariant=True)


class Cover(ABC, Generic[AccessIn]):
    """A canonical set of operands of one kind. Covers of the same operands are equal."""

    __slots__ = ("operands",)

    def __init__(self, operands: frozenset[Operands]) -> None:
        self.operands = operands

    @abstractmethod
    def overlaps(self, access: AccessIn) -> Operands | None:
        """The operands that the access touches, those of the first such term; None if it touches none."""

    @abstractmethod
    def contains(self, access: AccessIn) -> bool:
        """Whether the whole access lies inside, be it in several terms together."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cover) and self.operands == other.operands

    def __hash__(self) -> int:
        return hash(self.operands)


class Everything(Cover[object]):
    """The cover of `(kind, "all")`, which every kind has."""

    __slots__ = ()

    def overlaps(self, access: object) -> Operands | None:
        return ALL

    def contains(self, access: object) -> bool:
        return True


EVERYTHING = Everything(frozenset({ALL}))


class Matching(ABC, Generic[Access]):
    """How the terms of a kind are validated, and how they match an access.

    `term` and `access` raise TypeError or ValueError that say what is wrong with their operands; whoever calls them
    adds the term or access itself and what was expected. Neither is given `ALL`.
    """

    expected_term: str
    """The operands of a term, for error messages."""

    expected_access: str
    """The operands of an access, for error messages."""

    @abstractmethod
    def term(self, operands: Operands) -> Operands:
        """The operands of a term, validated and in canonical form."""

    @abstractmethod
    def access(self, what: Operands) -> Access:
        """The operands of an access, validated and in the form that the covers take."""

    @abstractmethod
    def cover(self, operands: frozenset[Operands]) -> Cover[Access]:
        """The cover of operands that `term` returned."""

    def show(self, operand: object) -> str:
        """An operand in a message."""
        return repr(operand)


def integer(value: object, name: str) -> int:
    """An exact int, also from an IntEnum. Raises TypeError for anything else; for a bool too, which equals 0 or 1."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, not an int")
    return index(value)


def text(value: object, name: str) -> str:
    """An exact str, also from a StrEnum. Raises TypeError for anything else, ValueError for the empty string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, not a str")
    if not value:
        raise ValueError(f"{name} is empty")
    return value if type(value) is str else str.__str__(value)
