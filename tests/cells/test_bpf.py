from __future__ import annotations

import struct
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from cells.bpf import ALLOW, KILL_PROCESS, TRAP, Check, Rule, assemble, is_null, refuse

AUDIT, OTHERWISE = 0xC000003E, refuse(1)

half = st.integers(0, 2**32 - 1)
small = st.integers(0, 3)
tests = st.builds(
    Check,
    st.integers(0, 5),
    st.lists(small, min_size=1, max_size=4).map(tuple),
    st.sampled_from([0xFFFFFFFF, 1, 2]),
    st.booleans(),
    st.booleans(),
)
rules = st.dictionaries(
    st.integers(0, 460), st.sampled_from([ALLOW, TRAP, refuse(38)]) | st.lists(tests, min_size=1, max_size=3).map(tuple), max_size=300
)


def verdict_of(code: bytes, number: int, arguments: tuple[int, ...], audit: int = AUDIT) -> int:
    """What the kernel does: run the filter."""
    data = struct.pack("<iIQ6Q", number if number < 2**31 else number - 2**32, audit, 0, *arguments)
    at = accumulator = 0
    while True:
        operation, if_so, if_not, k = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        match operation:
            case 0x20:
                accumulator = int.from_bytes(data[k : k + 4], "little")
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += if_so if accumulator == k else if_not
            case 0x35:
                at += if_so if accumulator >= k else if_not
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"an instruction that is none: {operation:#x}")


def model(rules: Mapping[int, Rule], number: int, arguments: tuple[int, ...]) -> int:
    rule = rules.get(number, OTHERWISE)
    if isinstance(rule, int):
        return rule
    for test in rule:
        word = arguments[test.argument] >> (32 * test.high) & 0xFFFFFFFF & test.mask
        if (word in test.values) is not test.is_one:
            return OTHERWISE
    return ALLOW


@given(rules, st.integers(0, 470), st.tuples(*[st.builds(lambda low, high: low | high << 32, small | half, small | half)] * 6))
def test_a_filter_decides_as_its_rules_say(rules: dict[int, Rule], number: int, arguments: tuple[int, ...]) -> None:
    code = assemble(AUDIT, rules, OTHERWISE)
    for asked in {number, *rules}:
        assert verdict_of(code, asked, arguments) == model(rules, asked, arguments)


def test_another_table_of_numbers_ends_the_os_process() -> None:
    code = assemble(AUDIT, {39: ALLOW}, OTHERWISE)
    assert verdict_of(code, 39, (0,) * 6, audit=0x40000003) == KILL_PROCESS
    assert verdict_of(code, 0x40000000 | 39, (0,) * 6) == KILL_PROCESS
    assert verdict_of(code, 0xFFFFFFFF, (0,) * 6) == KILL_PROCESS


def test_a_null_pointer_is_null_in_both_halves() -> None:
    code = assemble(AUDIT, {1: is_null(2)}, OTHERWISE)
    assert verdict_of(code, 1, (1, 1, 0, 1, 1, 1)) == ALLOW
    assert verdict_of(code, 1, (0, 0, 1, 0, 0, 0)) == OTHERWISE
    assert verdict_of(code, 1, (0, 0, 1 << 32, 0, 0, 0)) == OTHERWISE
