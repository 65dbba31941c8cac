"""Memory for DMA."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import caps
from beamlike import run, self_pid, tighten
from drivers import PortBus
from drivers.memory import SIZE, START, Memory


@given(st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([1, 2, 16, 4096]), st.sampled_from([0, 0x2000, 0x10000]), st.booleans())))
def test_pieces_are_disjoint_aligned_and_within_boundaries(wishes: list[tuple[int, int, int, bool]]) -> None:
    memory = Memory(PortBus(memory=1), 0x100100, 0x8000)
    pieces: dict[int, int] = {}
    for size, align, boundary, gives_back in wishes:
        try:
            at = memory.take(size, align, boundary)
        except MemoryError:
            continue
        assert 0x100100 <= at <= at + size <= 0x108100
        assert at % align == 0
        assert not boundary or at // boundary == (at + size - 1) // boundary
        assert all(at + size <= other or other + other_size <= at for other, other_size in pieces.items())
        pieces[at] = size
        if gives_back:
            other = next(iter(pieces))
            memory.give_back(other)
            del pieces[other]
        assert memory.free == 0x8000 - sum(pieces.values())


def test_what_was_given_back_is_given_out_again() -> None:
    memory = Memory(PortBus(), 0x1000, 0x3000)
    first, second = memory.take(0x1000, 4096), memory.take(0x1000, 4096)
    memory.take(0x1000, 4096)
    with pytest.raises(MemoryError, match="no 4096 bytes are free, of 12288 at 0x1000, 0 of which"):
        memory.take(0x1000)
    memory.give_back(second)
    assert memory.take(0x800) == second
    memory.give_back(first)
    with pytest.raises(ValueError, match="0x1000 is no piece"):
        memory.give_back(first)
    with pytest.raises(MemoryError):
        memory.take(0x1801)


@pytest.mark.parametrize("wish", [(0, 1, 0), (-1, 1, 0), (16, 3, 0), (16, 0, 0), (17, 1, 16)])
def test_pieces_that_cannot_be(wish: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected some bytes, a power of 2"):
        Memory(PortBus()).take(*wish)


def test_what_the_caller_may_not_access_is_not_given_out() -> None:
    async def main() -> None:
        memory = Memory(PortBus())
        await tighten(self_pid(), [("raw_memory", START + 0x1000, START + SIZE)])
        assert memory.take(0x1000) == START
        with pytest.raises(caps.CapabilityError):
            memory.take(1)
        assert memory.free == SIZE - 0x1000

    run(main)
