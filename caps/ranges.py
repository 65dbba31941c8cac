"""Half-open ranges of numbers: ports and memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TypeAlias

from caps.matching import EVERYTHING, Cover, Matching, Operands, integer

Range: TypeAlias = tuple[int, int]
"""(first, one past the last)"""


class RangeCover(Cover[Range]):
    """Disjoint ranges, none adjacent to the next, ascending.

    So the one range that can hold the start of an access, or is the first after it, is found by bisection, and an
    access that lies in two adjacent terms together lies in one range here.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: list[Range]) -> None:
        super().__init__(frozenset(ranges))
        self._starts = [start for start, _ in ranges]
        self._ends = [end for _, end in ranges]

    def overlaps(self, access: Range) -> Operands | None:
        start, end = access
        i = bisect_right(self._ends, start)
        if i < len(self._ends) and self._starts[i] < end:
            return self._starts[i], self._ends[i]
        return None

    def contains(self, access: Range) -> bool:
        start, end = access
        i = bisect_right(self._ends, start)
        return i < len(self._ends) and self._starts[i] <= start and end <= self._ends[i]


def merged(ranges: Iterable[Operands]) -> list[Range]:
    """The same numbers in disjoint ranges, none adjacent to the next, ascending."""
    made: list[Range] = []
    for start, end in sorted(ranges):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


class Ranges(Matching[Range]):
    """Numbers from 0 up to `limit`, exclusive. A term is `(start, end)`, end exclusive; an access `(start, length)`."""

    def __init__(self, limit: int, start: str, length: str) -> None:
        self.limit = limit
        self.expected_term = f"start, end with 0 <= start < end <= {limit:#x}"
        self.expected_access = f"{start}, {length} with 0 <= {start}, 1 <= {length} and {start} + {length} <= {limit:#x}"

    def term(self, operands: Operands) -> Operands:
        if len(operands) != 2:
            raise ValueError("a range has two ends")
        start, end = integer(operands[0], "start"), integer(operands[1], "end")
        if not 0 <= start < end <= self.limit:
            raise ValueError(f"[{start:#x}, {end:#x}) is not a range of this kind")
        return start, end

    def access(self, what: Operands) -> Range:
        if len(what) != 2:
            raise ValueError(f"{len(what)} operands instead of 2")
        start, length = what
        if type(start) is not int or type(length) is not int:
            start, length = integer(start, "start"), integer(length, "length")
        end = start + length
        if not 0 <= start < end <= self.limit:
            raise ValueError(f"[{start:#x}, {end:#x}) is not a range of this kind")
        return start, end

    def cover(self, operands: frozenset[Operands]) -> Cover[Range]:
        ranges = merged(operands)
        return EVERYTHING if ranges == [(0, self.limit)] else RangeCover(ranges)

    def ranges_of(self, cover: Cover[Range]) -> list[Range]:
        """What a cover of this kind holds, disjoint and ascending."""
        return [(0, self.limit)] if cover is EVERYTHING else sorted(cover.operands)

    def rest_of(self, ranges: list[Range]) -> list[Range]:
        """What is in none of these, which are disjoint and ascending."""
        bounds = [0, *(bound for each in ranges for bound in each), self.limit]
        return [(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True) if start < end]

    def show(self, operand: object) -> str:
        return hex(operand) if isinstance(operand, int) else repr(operand)
