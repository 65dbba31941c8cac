"""The ring: exactly once, in order, whole, or not at all; whatever is killed, and whatever the peer writes into the memory."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from nodes import rings
from nodes._ring import ffi, lib
from nodes.rings import BrokenRingError, PairEnd, ReaderSet, Written

HERE = Path(__file__).parent
NODES = Path(rings.__file__).parent
SMALL = 4096
LARGEST = SMALL // 8 - 40
LONGEST = 3 * SMALL
MAGIC, VERSION, CAPACITIES, TOTAL, TAIL, HEAD, DATA = 0, 8, 12, 24, 4096, 4096 + 128, 8192  # where these are in the memory
FUZZ = int(os.environ.get("BEAMLIKE_FUZZ", "1"))  # how many times longer than usual the loops are


def make_pair(capacity: int = SMALL, longest: int = LONGEST) -> tuple[PairEnd, PairEnd]:
    memfd, ours = rings.create(capacity, longest)
    theirs = rings.attach(memfd, longest)
    os.close(memfd)
    return ours, theirs


def memory_of(end: PairEnd, capacity: int = SMALL) -> Any:
    """All that the two ends share, to be written like a bytearray."""
    return ffi.buffer(end._memory, lib.bl_pair_size(capacity, capacity))


def move_to(ours: PairEnd, theirs: PairEnd, position: int) -> None:
    """Make the ring that we write as if `position` bytes had been written and read."""
    ours._writer.tail = ours._writer.head = theirs._reader.tail = theirs._reader.head = position
    for word in (TAIL, HEAD):
        struct.pack_into("=Q", memory_of(ours), word, position)


@pytest.fixture
def pair() -> Iterator[tuple[PairEnd, PairEnd]]:
    ends = make_pair()
    yield ends
    for end in ends:
        end.close()


# ---- messages


def test_a_message_arrives_as_it_was_written(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    assert ours.read() is None
    assert ours.write(255, 2**64 - 1, 2**63, 1, b"payload", flags=0xFE) is Written.DONE
    assert theirs.read() == (255, 0xFE, 2**64 - 1, 2**63, 1, b"payload")
    assert theirs.read() is None
    assert theirs.write(1, 0, 0, 0, b"") is Written.DONE
    assert ours.read() == (1, 0, 0, 0, 0, b"")


def test_a_full_ring_takes_nothing_until_the_reader_has_made_room(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    count = 0
    while ours.write(1, count, 0, 0, bytes(24)) is Written.DONE:
        count += 1
    assert count == SMALL // 64
    assert ours.write(1, count, 0, 0, b"") is Written.FULL
    assert theirs.read() == (1, 0, 0, 0, 0, bytes(24))
    assert ours.write(1, count, 0, 0, bytes(24)) is Written.DONE
    received = [record[2] for record in iter(theirs.read, None)]
    assert received == list(range(1, count + 1))


def test_the_largest_record_fits_an_empty_ring_wherever_that_stands(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    assert ours.largest == LARGEST
    for step in range(SMALL // 8):
        assert ours.write(1, step, 0, 0, b"") is Written.DONE
        assert theirs.read() is not None
        assert ours.write(2, 0, 0, 0, bytes(LARGEST)) is Written.DONE
        assert theirs.read() == (2, 0, 0, 0, 0, bytes(LARGEST))


def test_a_long_message_is_given_out_when_its_last_part_has_come(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    data = os.urandom(LONGEST)
    offset, parts = 0, 0
    while offset < len(data):
        outcome, offset = ours.write_part(3, 4, 5, 6, data, offset, flags=2)
        assert outcome is Written.DONE
        if offset < len(data):
            assert ours.write_part(3, 4, 5, 6, data, offset, flags=2) == (Written.FULL, offset)
            assert theirs.read() is None
        parts += 1
    assert parts > 2
    assert theirs.read() == (3, 2, 4, 5, 6, data)
    assert ours.write(1, 0, 0, 0, b"next") is Written.DONE
    assert theirs.read() == (1, 0, 0, 0, 0, b"next")


def test_a_message_of_megabytes_arrives_and_its_memory_is_not_kept() -> None:
    ours, theirs = make_pair(rings.CAPACITY, rings.LONGEST)
    data = os.urandom(5_000_001)
    offset = 0
    while offset < len(data):
        assert theirs.read() is None
        offset = ours.write_part(1, 0, 0, 0, data, offset)[1]
    assert theirs.read() == (1, 0, 0, 0, 0, data)
    assert len(theirs._buffer) == theirs.largest


def test_a_message_that_the_writer_did_not_finish_is_never_seen(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    outcome, offset = ours.write_part(1, 0, 0, 0, bytes(LONGEST))
    assert outcome is Written.DONE
    assert 0 < offset < LONGEST
    ours.close()
    assert theirs.read() is None
    assert theirs.sleep() is False


@pytest.mark.parametrize("position", [2**32 - 64, 2**63, 2**64 - 4096])
def test_positions_and_sequence_grow_past_what_a_word_takes(position: int) -> None:
    ours, theirs = make_pair()
    move_to(ours, theirs, position)
    ours._writer.sequence = theirs._reader.sequence = 2**32 - 3
    for n in range(200):
        assert ours.write(1, n, 0, 0, bytes(n)) is Written.DONE
        assert theirs.read() == (1, 0, n, 0, 0, bytes(n))


class Ring(RuleBasedStateMachine):
    """Both directions of a pair against a deque each."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = make_pair()
        self.in_flight: tuple[deque[rings.Record], deque[rings.Record]] = (deque(), deque())  # by the side that wrote
        self.begun: dict[int, tuple[rings.Record, int]] = {}  # side: the message, and how much of it is written
        self.asleep = [False, False]
        self.rung = [False, False]
        self.count = 0

    sides = st.integers(0, 1)

    def a_message(self, length: int) -> rings.Record:
        self.count += 1
        return 1 + self.count % 255, self.count % 128 * 2, self.count, 2 * self.count, 3 * self.count, os.urandom(length)

    def check_bell(self, side: int, outcome: Written) -> None:
        reader = 1 - side
        assert (outcome is Written.RING_BELL) == (self.asleep[reader] and not self.rung[reader])
        self.rung[reader] = self.rung[reader] or outcome is Written.RING_BELL

    @rule(side=sides, length=st.integers(0, LARGEST))
    def write(self, side: int, length: int) -> None:
        kind, flags, to, from_, ref, data = message = self.a_message(length)
        if side in self.begun:
            with pytest.raises(RuntimeError, match="a message is begun"):
                self.ends[side].write(kind, to, from_, ref, data, flags)
            return
        outcome = self.ends[side].write(kind, to, from_, ref, data, flags)
        if outcome is Written.FULL:
            assert self.in_flight[side]
            return
        self.in_flight[side].append(message)
        self.check_bell(side, outcome)

    @rule(side=sides, length=st.integers(0, LONGEST))
    def write_part(self, side: int, length: int) -> None:
        message, before = self.begun.get(side) or (self.a_message(length), 0)
        kind, flags, to, from_, ref, data = message
        outcome, offset = self.ends[side].write_part(kind, to, from_, ref, data, before, flags)
        if outcome is Written.FULL:
            assert offset == before
            return
        self.check_bell(side, outcome)
        if offset < len(data):
            assert offset > before
            self.begun[side] = message, offset
        else:
            self.begun.pop(side, None)
            self.in_flight[side].append(message)

    @rule(side=sides)
    def read(self, side: int) -> None:
        expected = self.in_flight[1 - side]
        assert self.ends[side].read() == (expected.popleft() if expected else None)

    @rule(side=sides)
    def read_all(self, side: int) -> None:
        expected = self.in_flight[1 - side]
        assert list(iter(self.ends[side].read, None)) == list(expected)
        expected.clear()

    @rule(side=sides)
    def sleep(self, side: int) -> None:
        is_something = self.ends[side].sleep()
        assert is_something or not self.in_flight[1 - side]
        self.asleep[side], self.rung[side] = True, False

    @rule(side=sides)
    def wake(self, side: int) -> None:
        self.ends[side].wake()
        self.asleep[side] = False

    def teardown(self) -> None:
        for side in (0, 1):
            self.read_all(side)
            self.ends[side].close()


TestRingAgainstAModel = Ring.TestCase
TestRingAgainstAModel.settings = settings(max_examples=40 * FUZZ, stateful_step_count=60, deadline=None)


# ---- misuse


def test_misuse_is_told_to_the_caller_and_breaks_nothing(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    with pytest.raises(ValueError, match=f"{LARGEST + 1} bytes are too long: one record takes {LARGEST}"):
        ours.write(1, 0, 0, 0, bytes(LARGEST + 1))
    with pytest.raises(ValueError, match=f"{LONGEST + 1} bytes are too long"):
        ours.write_part(1, 0, 0, 0, bytes(LONGEST + 1))
    with pytest.raises(ValueError, match="kind 0 and bit 0 of the flags"):
        ours.write(0, 0, 0, 0, b"")
    with pytest.raises(ValueError, match="kind 0 and bit 0 of the flags"):
        ours.write_part(1, 0, 0, 0, b"", flags=1)
    with pytest.raises(ValueError, match="not at 3 of 5 bytes"):
        ours.write_part(1, 0, 0, 0, b"12345", 3)
    assert ours.write(1, 0, 0, 0, b"fine") is Written.DONE
    assert theirs.read() == (1, 0, 0, 0, 0, b"fine")


@pytest.mark.parametrize("capacity", [0, 2048, 4097, 3 * 4096, 2**31])
def test_a_capacity_that_is_no_power_of_two_in_range_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"not {capacity}$"):
        rings.create(capacity)


def test_a_closed_end_is_broken_and_touches_no_memory(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    readers = ReaderSet(1)
    readers.add(ours)
    assert theirs.write(1, 0, 0, 0, b"") is Written.DONE
    assert readers.poll() == 0
    ours.close()
    ours.close()
    calls: list[Callable[[], object]] = [ours.read, ours.sleep, ours.room_wanted, ours.await_room, lambda: ours.write(1, 0, 0, 0, b"")]
    for call in calls:
        with pytest.raises(BrokenRingError, match="closed or broken"):
            call()
    ours.wake()
    assert (readers.poll(), readers.sleep()) == (-1, -1)
    assert theirs.write(1, 0, 0, 0, b"") is Written.DONE


# ---- sleeping and waiting


def test_one_bell_is_rung_for_one_nap(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    assert theirs.sleep() is False
    assert [ours.write(1, 0, 0, 0, b"") for _ in range(3)] == [Written.RING_BELL, Written.DONE, Written.DONE]
    theirs.wake()
    assert ours.write(1, 0, 0, 0, b"") is Written.DONE
    assert theirs.sleep() is True
    assert ours.write(1, 0, 0, 0, b"") is Written.RING_BELL


def test_a_writer_that_waits_for_room_is_rung_for_once(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    assert ours.await_room() is True
    assert theirs.room_wanted() is False
    while ours.write(1, 0, 0, 0, bytes(100)) is Written.DONE:
        pass
    assert ours.await_room() is False
    for _ in iter(theirs.read, None):
        pass
    assert theirs.sleep() is False
    assert [theirs.room_wanted(), theirs.room_wanted()] == [True, False]
    assert ours.await_room() is True


def test_a_set_takes_turns_and_sleeps_for_all_of_its_ends() -> None:
    pairs = [make_pair() for _ in range(3)]
    readers = ReaderSet(4)
    assert [readers.add(theirs) for _, theirs in pairs] == [0, 1, 2]
    assert readers.poll(spins=3) == -1
    for ours, _ in pairs:
        for _ in range(2):
            assert ours.write(1, 0, 0, 0, b"") is Written.DONE
    turns = []
    while (place := readers.poll()) >= 0:
        turns.append(place)
        assert pairs[place][1].read() is not None
    assert turns == [0, 1, 2, 0, 1, 2]
    readers.remove(1)
    assert readers.sleep() == -1
    assert [ours.write(1, 0, 0, 0, b"") for ours, _ in pairs] == [Written.RING_BELL, Written.DONE, Written.RING_BELL]
    assert readers.sleep() in (0, 2)
    readers.wake()
    assert pairs[0][0].write(1, 0, 0, 0, b"") is Written.DONE
    assert readers.add(pairs[1][1]) == 1
    readers.add(pairs[1][0])
    with pytest.raises(RuntimeError, match="all 4 places"):
        readers.add(pairs[0][0])


# ---- the peer's memory


def test_a_changed_byte_anywhere_in_a_committed_record_breaks_the_end_and_delivers_nothing(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    move_to(ours, theirs, 5 * SMALL - 64)  # so that a padding record stands between the first message and the second
    messages = [bytes(range(8)), bytes(range(16)), os.urandom(600)]
    for number, data in enumerate(messages):
        assert ours.write_part(1, number, 0, 0, data) == (Written.DONE, len(data))
    records = [
        (range(SMALL - 64, SMALL - 16), 0),
        (range(SMALL - 16, SMALL - 8), 1),  # the padding record's one word
        (range(56), 1),
        (range(56, 56 + 2 * 40 + 600), 2),  # two records
    ]
    memory, state = memory_of(theirs), ffi.buffer(theirs._reader)
    whole, fresh = memory[:], state[:]
    for indexes, before in records:
        for index in indexes:
            for flipped in (1 << index % 8, 0xFF):
                memory[:], state[:] = whole, fresh
                memory[DATA + index] = bytes([whole[DATA + index] ^ flipped])
                assert [theirs.read() for _ in range(before)] == [(1, 0, n, 0, 0, messages[n]) for n in range(before)]
                with pytest.raises(BrokenRingError, match=r"checksum|broke the protocol"):
                    theirs.read()
                with pytest.raises(BrokenRingError, match="broken since earlier"):
                    theirs.read()
    memory[:], state[:] = whole, fresh
    assert [record[5] for record in iter(theirs.read, None)] == messages


def test_a_checksum_that_is_wrong_is_told_from_a_broken_protocol(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    assert ours.write(1, 0, 0, 0, b"payload") is Written.DONE
    memory_of(ours)[DATA + 40] = b"P"
    with pytest.raises(BrokenRingError, match="memory changed behind our back"):
        theirs.read()


# 64 bytes were written and read: the reader's tail goes back, beyond the ring, or where no record ends; the writer's head beyond its tail.
@pytest.mark.parametrize(
    ("word", "value"),
    [(TAIL, 0), (TAIL, 56), *((word, value) for word in (TAIL, HEAD) for value in (1, 65, 72, SMALL + 72, 2**32, 2**63, 2**64 - 8))],
)
def test_a_position_that_cannot_be_breaks_the_end_that_reads_it(pair: tuple[PairEnd, PairEnd], word: int, value: int) -> None:
    ours, theirs = pair
    assert ours.write(1, 0, 0, 0, bytes(24)) is Written.DONE
    assert theirs.read() is not None
    struct.pack_into("=Q", memory_of(ours), word, value)
    with pytest.raises(BrokenRingError, match="broke the protocol"):
        theirs.read() if word == TAIL else ours.await_room()
    with pytest.raises(BrokenRingError, match="broke the protocol"):
        theirs.read() if word == TAIL else ours.write(1, 0, 0, 0, b"")


def test_a_reader_that_takes_room_back_breaks_the_writer(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    for _ in range(2):
        assert ours.write(1, 0, 0, 0, bytes(24)) is Written.DONE
        assert theirs.read() is not None
    assert ours.await_room() is True
    struct.pack_into("=Q", memory_of(ours), HEAD, 64)
    with pytest.raises(BrokenRingError, match="broke the protocol"):
        ours.await_room()


def sealed(content: bytes, seals: int = rings.SEALS) -> int:
    memfd = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memfd, content)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memfd


def altered(offset: int, layout: str, *values: int) -> bytes:
    """A pair whose header says something else here."""
    ours, _ = make_pair()
    content = bytearray(memory_of(ours)[:])
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


REFUSED: dict[str, tuple[Callable[[], int], str]] = {
    "no memfd": (lambda: os.open(__file__, os.O_RDONLY), "the descriptor is no memfd"),
    "unsealed": (lambda: sealed(bytes(SMALL), 0), "has the seals 0x0, a pair of rings needs 0x7"),
    "can shrink": (lambda: sealed(bytes(SMALL), rings.SEALS & ~fcntl.F_SEAL_SHRINK), "has the seals 0x5"),
    "empty": (lambda: sealed(b""), "of 0 bytes is too small"),
    "too small": (lambda: sealed(bytes(4095)), "of 4095 bytes is too small"),
    "zeroes": (lambda: sealed(bytes(5 * SMALL)), "another magic number"),
    "wrong magic": (lambda: sealed(altered(MAGIC, "=Q", 1)), "another magic number"),
    "other version": (lambda: sealed(altered(VERSION, "=I", 2)), "a layout of another version"),
    "other size": (lambda: sealed(altered(TOTAL, "=Q", 2**40)), "sizes that do not fit"),
    "cut": (lambda: sealed(altered(MAGIC, "=")[: 4 * SMALL]), "sizes that do not fit"),
    "larger rings": (lambda: sealed(altered(CAPACITIES, "=II", 2 * SMALL, SMALL)), "sizes that do not fit"),
    "sizes that wrap": (lambda: sealed(altered(CAPACITIES, "=II", 2**32 - SMALL, 3 * SMALL)), "sizes that do not fit"),
    "an odd ring": (lambda: sealed(altered(CAPACITIES, "=II", SMALL + 8, SMALL - 8)), "sizes that do not fit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_pair_is_refused_with_the_reason(case: str) -> None:
    make, reason = REFUSED[case]
    descriptor = make()
    with pytest.raises(ValueError, match=reason):
        rings.attach(descriptor)
    os.close(descriptor)


def test_the_peer_can_neither_shrink_nor_grow_the_memory_nor_unseal_it() -> None:
    memfd, ours = rings.create(SMALL)
    size = os.fstat(memfd).st_size
    for wanted in (0, size - 1, size + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, wanted)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(memfd)
    assert ours.write(1, 0, 0, 0, b"") is Written.DONE


def test_an_end_holds_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    ends = make_pair()
    assert os.listdir("/proc/self/fd") == before
    assert ends[0].write(1, 0, 0, 0, b"") is Written.DONE


def test_the_memory_is_unmapped_when_an_end_is_closed_or_dropped() -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("beamlike-rings")

    before = mappings()
    ours, theirs = make_pair()
    assert mappings() == before + 2
    ours.close()
    assert mappings() == before + 1
    del theirs
    assert mappings() == before


def test_compiled_code_uses_the_same_ends_by_their_addresses(pair: tuple[PairEnd, PairEnd]) -> None:
    ours, theirs = pair
    readers = ReaderSet(1)
    readers.add(theirs)
    writer = ffi.cast("bl_writer *", ours.writer_address)
    assert lib.bl_write(writer, 1, 0, 2, 3, 4, b"from C", 6) == 0
    assert lib.bl_set_poll(ffi.cast("bl_set *", readers.address), 0) == 0
    assert ours.write(1, 0, 0, 0, b"from Python") is Written.DONE
    record, buffer = ffi.new("bl_record *"), ffi.new("uint8_t[]", 100)
    assert lib.bl_read(ffi.cast("bl_reader *", theirs.reader_address), record, buffer, 100) == 6
    assert theirs.read() == (1, 0, 0, 0, 0, b"from Python")


# ---- CRC32C


def test_crc32c_has_its_check_value() -> None:
    assert rings.crc32c(b"123456789") == lib.bl_crc32c_table(b"123456789", 9) == 0xE3069283
    assert rings.crc32c(b"") == 0


@given(st.binary(max_size=300), st.integers(0, 8))
def test_the_instruction_and_the_table_agree(data: bytes, skipped: int) -> None:
    length = max(0, len(data) - skipped)  # also not aligned
    view = ffi.from_buffer(data) + len(data) - length
    assert lib.bl_crc32c(view, length) == lib.bl_crc32c_table(view, length)


# ---- death


WRITES_FOR_EVER = """
import sys
from nodes import rings
end = rings.attach(int(sys.argv[1]))
n = 0
while True:
    data = n.to_bytes(8) * (n % 700)
    offset = 0
    while True:
        outcome, offset = end.write_part(1, n, 0, 0, data, offset)
        if outcome is not rings.Written.FULL and offset == len(data):
            break
    n += 1
"""


def test_what_a_killed_node_had_committed_arrives_once_in_order_and_whole() -> None:
    memfd, ours = rings.create(SMALL)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    node = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(memfd)], pass_fds=[memfd], env=environment)
    os.close(memfd)
    received = 0

    def take() -> bool:
        nonlocal received
        record = ours.read()
        if record is not None:
            assert record == (1, 0, received, 0, 0, received.to_bytes(8) * (received % 700))
            received += 1
        return record is not None

    while received < 1000:
        if not take():
            assert node.poll() is None
            os.sched_yield()
    node.kill()
    assert node.wait() == -signal.SIGKILL
    while take():
        pass
    assert ours.sleep() is False
    while ours.write(1, 0, 0, 0, b"nobody reads") is Written.DONE:
        pass


# ---- the C programs


def run_in_c(directory: Path, name: str, sanitizer: str | None, *flags: str) -> str:
    """Compile and run a program of this folder with ring.c; what it printed."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    if sanitizer is not None:
        library = f"lib{sanitizer[0]}san.so"
        if not os.path.isabs(subprocess.check_output([compiler, f"-print-file-name={library}"], text=True).strip()):
            pytest.skip(f"gcc has no {library}")
        flags += (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    program = directory / name
    strict = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{NODES}", f"-I{HERE}"]
    subprocess.run([compiler, *strict, *flags, HERE / f"{name}.c", NODES / "ring.c", "-o", program], check=True)
    ended = subprocess.run([program, str(FUZZ)], capture_output=True, text=True, timeout=60 * FUZZ)
    if "unexpected memory mapping" in ended.stderr:
        pytest.skip("this kernel randomises addresses more than the thread sanitizer can take")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_end_can_be_killed_at_each_single_store(tmp_path: Path) -> None:
    header = HERE / "ring_test.h"
    assert "kills" in run_in_c(tmp_path, "ring_stores", "address,undefined", "-DSTOP_AT_STORES", "-include", str(header))


def test_os_processes_are_killed_at_random_while_they_write_and_while_they_read(tmp_path: Path) -> None:
    assert f"{1500 * FUZZ} killed while writing" in run_in_c(tmp_path, "ring_kills", None)


def test_no_garbage_of_a_hostile_peer_is_delivered_or_reaches_outside(tmp_path: Path) -> None:
    assert "refused" in run_in_c(tmp_path, "ring_hostile", "address,undefined")


def test_two_threads_that_sleep_and_wake_race_nowhere(tmp_path: Path) -> None:
    assert "naps" in run_in_c(tmp_path, "ring_threads", "thread", "-Wno-tsan")  # it knows no fences; only flags need them


def test_of_a_writer_and_a_reader_at_the_same_instant_one_sees_the_other(tmp_path: Path) -> None:
    assert f"{50000 * FUZZ} rounds" in run_in_c(tmp_path, "ring_fences", None, "-O2")


def test_the_ring_needs_no_c_library(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    compiled = tmp_path / "ring.o"
    strict = ["-std=c11", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *strict, "-c", NODES / "ring.c", "-o", compiled], check=True)
    undefined = subprocess.check_output(["nm", "--undefined-only", "--format=posix", compiled], text=True).split("\n")
    assert {line.split()[0] for line in undefined if line} <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
