"""Kinds that applications define (C7): matched by functions of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from caps.matching import Cover, Matching, Operands
from caps.names import plain

Matcher: TypeAlias = Callable[[tuple[Any, ...], tuple[Any, ...]], bool]
"""Takes the operands of a term and those of an access; says whether the first matches the second."""


class ApplicationCover(Cover[Operands]):
    """Terms that are asked one by one."""

    __slots__ = ("_contains", "_overlaps")

    def __init__(self, operands: frozenset[Operands], overlaps: Matcher, contains: Matcher) -> None:
        super().__init__(operands)
        self._overlaps = overlaps
        self._contains = contains

    def overlaps(self, access: Operands) -> Operands | None:
        return next((term for term in self.operands if answer(self._overlaps, term, access)), None)

    def contains(self, access: Operands) -> bool:
        return any(answer(self._contains, term, access) for term in self.operands)


class ApplicationMatching(Matching[Operands]):
    """A term has one plain operand or more, an access has whatever the matchers understand."""

    expected_term = "one operand or more: str, int, None, tuples of these, pids"
    expected_access = "the operands that its matcher understands"

    def __init__(self, overlaps: Matcher, contains: Matcher) -> None:
        self.overlaps = overlaps
        self.contains = contains

    def term(self, operands: Operands) -> Operands:
        if not operands:
            raise ValueError("no operands (to exclude the whole kind, 'all')")
        return plain(operands)

    def access(self, what: Operands) -> Operands:
        return what

    def cover(self, operands: frozenset[Operands]) -> Cover[Operands]:
        return ApplicationCover(operands, self.overlaps, self.contains)


def answer(matcher: Matcher, term: Operands, access: Operands) -> bool:
    """The matcher's answer. Raises TypeError if it is no bool: a forgotten return must not read as "does not match"."""
    matched = matcher(term, access)
    if matched is True or matched is False:
        return matched
    raise TypeError(f"the matcher {matcher.__module__}:{matcher.__qualname__} returned {matched!r}, not True or False")
