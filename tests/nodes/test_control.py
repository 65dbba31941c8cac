"""The control channel: whole packets, in order, with descriptors, without waiting."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.control import IN_MEMORY, LONGEST, MOST_DESCRIPTORS, Channel, ChannelClosed, PacketError, close_all, socket_pair

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = set(os.listdir("/proc/self/fd"))
    a, b = (Channel(end) for end in socket_pair())
    yield a, b
    a.close()
    b.close()
    assert set(os.listdir("/proc/self/fd")) == before


def received(channel: Channel) -> tuple[Any, ...]:
    packet = channel.receive()
    assert packet is not None
    assert packet[1] == []
    return packet[0]


def fill(channel: Channel) -> int:
    """How many packets were sent: the last one waits."""
    count = 0
    while not channel.wants_write:
        channel.send("filler", count)
        count += 1
    return count


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.text(), st.lists(plain))
def test_plain_values_arrive_as_they_were_sent(kind: str, items: list[Any]) -> None:
    a, b = (Channel(end) for end in socket_pair())
    a.send(kind, *items)
    assert received(b) == (kind, *items)
    a.close()
    b.close()


def test_receive_returns_none_while_there_is_nothing(pair: Pair) -> None:
    assert pair[0].receive() is None


def test_descriptors_arrive_and_are_not_inherited_by_programs(pair: Pair) -> None:
    reader, writer = os.pipe()
    pair[0].send("pipe", fds=[writer])
    os.close(writer)
    packet = pair[1].receive()
    assert packet is not None
    (items, (arrived,)) = packet
    assert items == ("pipe",)
    assert not os.get_inheritable(arrived)
    os.write(arrived, b"through")
    assert os.read(reader, 10) == b"through"
    close_all([reader, arrived])


def test_what_the_kernel_does_not_take_waits_in_order_with_its_descriptors(pair: Pair) -> None:
    a, b = pair
    count = fill(a)
    reader, writer = os.pipe()
    a.send("pipe", fds=[writer])
    os.close(writer)
    a.send("last")
    assert a.waiting == 3
    a.flush()
    assert a.waiting == 3
    for number in range(count):
        a.flush()
        assert received(b) == ("filler", number)
    a.flush()
    assert not a.wants_write
    packet = b.receive()
    assert packet is not None
    os.write(packet[1][0], b"through")
    assert os.read(reader, 10) == b"through"
    assert received(b) == ("last",)
    close_all([reader, *packet[1]])


def test_everything_sent_before_the_end_is_received_first(pair: Pair) -> None:
    a, b = pair
    a.send("one")
    a.send("two")
    a.close()
    assert received(b) == ("one",)
    assert received(b) == ("two",)
    with pytest.raises(ChannelClosed):
        b.receive()


def test_what_was_sent_is_received_also_if_the_sender_closed_with_packets_unread(pair: Pair) -> None:
    a, b = pair
    b.send("never read")
    a.send("the last word")
    a.close()
    b.send("nobody is there")
    assert received(b) == ("the last word",)
    with pytest.raises(ChannelClosed):
        b.receive()


def test_what_waits_for_a_closed_end_is_dropped(pair: Pair) -> None:
    a, b = pair
    fill(a)
    b.close()
    a.flush()
    assert not a.wants_write


def test_closing_forgets_what_waits_and_closes_its_descriptors(pair: Pair) -> None:
    fill(pair[0])
    with open("/dev/null") as file:
        pair[0].send("file", fds=[file.fileno()])
    pair[0].close()
    assert pair[0].is_closed
    assert not pair[0].wants_write


@pytest.mark.parametrize("more", [0, 1, 1_000_000])
def test_packets_longer_than_the_socket_takes_arrive_too_with_their_descriptors(pair: Pair, more: int) -> None:
    room = LONGEST - len(msgpack.packb(("kind", b"1" * 60000))) + 60000
    pair[0].send("kind", b"1" * (room + more), fds=[0])
    pair[0].send("next")
    packet = pair[1].receive()
    assert packet is not None
    (items, (arrived,)) = packet
    assert items == ("kind", b"1" * (room + more))
    assert os.path.samestat(os.fstat(arrived), os.fstat(0))
    os.close(arrived)
    assert received(pair[1]) == ("next",)


def test_long_packet_waits_as_others_do(pair: Pair) -> None:
    count = fill(pair[0])
    pair[0].send("long", b"1" * LONGEST)
    for number in range(count):
        assert received(pair[1]) == ("filler", number)
        pair[0].flush()
    assert received(pair[1]) == ("long", b"1" * LONGEST)


def test_packet_in_memory_that_cannot_be_read_is_refused_and_its_descriptors_closed(pair: Pair) -> None:
    reader, writer = os.pipe()
    pair[0].send(IN_MEMORY, fds=[reader])
    with pytest.raises(PacketError, match="in no memory that can be read"):
        pair[1].receive()
    close_all([reader, writer])


def test_most_descriptors_arrive_and_more_are_refused(pair: Pair) -> None:
    pair[0].send("many", fds=[0] * MOST_DESCRIPTORS)
    packet = pair[1].receive()
    assert packet is not None
    assert len(packet[1]) == MOST_DESCRIPTORS
    close_all(packet[1])
    with pytest.raises(ValueError, match="at most 16 descriptors, not 17: 'many'"):
        pair[0].send("many", fds=[0] * (MOST_DESCRIPTORS + 1))


def test_values_that_are_not_plain_are_refused(pair: Pair) -> None:
    with pytest.raises(TypeError):
        pair[0].send("kind", object())


@pytest.mark.parametrize(
    "packet", [b"\xc1", b"\x92\xa1a", msgpack.packb(7), msgpack.packb([]), msgpack.packb([1, "kind"]), b"\x92\xa1k\x81\x80\x01"]
)
def test_packets_that_are_not_ours_are_refused_and_their_descriptors_closed(pair: Pair, packet: bytes) -> None:
    before = set(os.listdir("/proc/self/fd"))
    socket.send_fds(pair[0]._socket, [packet], [0])
    with pytest.raises(PacketError, match="a control packet is"):
        pair[1].receive()
    assert set(os.listdir("/proc/self/fd")) == before


def test_lost_descriptors_are_an_error(pair: Pair) -> None:
    socket.send_fds(pair[0]._socket, [msgpack.packb(["kind"])], [0] * (MOST_DESCRIPTORS + 1))
    with pytest.raises(PacketError, match="descriptors of a control packet were lost"):
        pair[1].receive()
