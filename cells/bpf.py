"""An assembler of seccomp's filters: from a table of rules, one a system call, to classic BPF.

Theory of operation. The numbers are sorted into intervals of one rule each, and a binary search over their bounds leads to the rule:
eight comparisons for a hundred rules. That matters when a filter is loaded, as the kernel then tries it on each of its numbers. At the
end of the search is one verdict, or a few tests of arguments. A number is found in the accumulator; a test loads over it, and no way
leads back from a test to the search.

A filter cannot follow pointers, and sees arguments of 64 bits, of which it compares 32 at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

# From linux/bpf_common.h and linux/seccomp.h
_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # numbers of x86's other table begin here, under the same AUDIT_ARCH

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
TRAP = 0x00030000
OWN_PID = 0x7FEDCBA9  # stands in a test for a pid that is put there later: no pid is this large

Instruction: TypeAlias = tuple[int, int, int, int]
INSTRUCTION = struct.Struct("=HBBI")


def refuse(error: int) -> int:
    """The verdict that answers with this errno."""
    return 0x00050000 | error


class Check(NamedTuple):
    """Passes if half an argument, masked, is one of the values; or if it is none of them."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False  # which half; both machines are little endian
    is_one: bool = True


Rule: TypeAlias = int | tuple[Check, ...]  # a verdict; or tests, all of which must pass for ALLOW


def is_null(argument: int) -> tuple[Check, Check]:
    """Passes for a null pointer."""
    return Check(argument, (0,)), Check(argument, (0,), high=True)


def assemble(audit: int, rules: Mapping[int, Rule], otherwise: int) -> bytes:
    """The filter; a call without a rule gets `otherwise`, and so does one that fails a test. Other tables of numbers end the process."""
    intervals: list[tuple[int, Rule]] = [(0, otherwise)]
    for number, rule in sorted(rules.items()):
        if intervals[-1][0] == number:
            intervals.pop()
        intervals += [(number, rule), (number + 1, otherwise)]
    merged = intervals[:1] + [here for before, here in pairwise(intervals) if before[1] != here[1]]
    head = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, KILL_PROCESS),
    ]
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in [*head, *_search(merged, otherwise)])


def _search(intervals: Sequence[tuple[int, Rule]], otherwise: int) -> list[Instruction]:
    if len(intervals) == 1:
        return _decide(intervals[0][1], otherwise)
    middle = len(intervals) // 2
    below, above = _search(intervals[:middle], otherwise), _search(intervals[middle:], otherwise)
    if len(below) <= 0xFF:
        return [(_AT_LEAST, len(below), 0, intervals[middle][0]), *below, *above]
    return [(_AT_LEAST, 0, 1, intervals[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _decide(rule: Rule, otherwise: int) -> list[Instruction]:
    if isinstance(rule, int):
        return [(_RETURN, 0, 0, rule)]
    decided: list[Instruction] = [(_RETURN, 0, 0, ALLOW), (_RETURN, 0, 0, otherwise)]
    for test in reversed(rule):
        decided = [*_test(test, len(decided) - 1), *decided]
    return decided


def _test(test: Check, failed: int) -> list[Instruction]:
    """Goes on after its end if it passes, and `failed` instructions farther if it does not."""
    load: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument + 4 * test.high)]
    if test.mask != 0xFFFFFFFF:
        load.append((_AND, 0, 0, test.mask))
    return load + list(_compare(test, failed))


def _compare(test: Check, failed: int) -> Iterable[Instruction]:
    for left, value in zip(range(len(test.values) - 1, -1, -1), test.values, strict=True):
        if not test.is_one:
            yield (_EQUAL, left + failed, 0, value)
        elif left:
            yield (_EQUAL, left, 0, value)
        else:
            yield (_EQUAL, 0, failed, value)
