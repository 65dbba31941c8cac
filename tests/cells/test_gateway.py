"""The gateway against cells whose program writes into the ring what their runtime never would.

In here nothing stops a program from taking the runtime of its cell apart: it finds the door where `open` has it.
"""

from __future__ import annotations

import time
from typing import Any

import far_flood
import pytest
from hosting import Host, answer, cell

import nodes
from beamlike import Down, monitor, receive, self_pid, send, sleep, spawn
from cells import Limits

DOOR = """
from cells.inside import files
from nodes._ring import ffi
from beamlike import pack, unpack, Pid
from beamlike.seam import NodeId
door = files._door
me = 1
def put(kind, to=0, from_=0, ref=0, payload=b""):
    door.peer.put(kind, to, from_, ref, payload)
def pid(node, incarnation, serial):
    return Pid(NodeId(node, incarnation), serial)
"""
AFTER = """
    send(parent, "alive")
    await receive()
"""
MAILBOX = ("capability_violation", "mailbox")

# Its own end of the ring refuses it, if it is left as it is.
LONG = """door.longest = 2**40
    end = ffi.buffer(door.end._writer)
    at = end[:].rindex((65536).to_bytes(4, 'little'))
    end[at : at + 4] = bytes([255] * 4)
   """

VIOLATIONS = {
    "a handle that it was not given": "put(1, to=999, payload=pack(1))",
    "a handle of 64 bits": "put(1, to=2**64 - 1, payload=pack(1))",
    "a call to such a handle": "put(3, to=999, from_=me, ref=5, payload=pack(1))",
    "a monitor of such a handle": "put(10, to=999, from_=me, ref=5)",
    "an exit signal to such a handle": "put(6, to=999, from_=me, payload=pack('kill'))",
    "a pid of a node": "put(1, to=1, payload=pack(pid('main@here', 1, 1)))",
    "a pid with a handle that it was not given": "put(1, to=1, payload=pack([pid('outside', 1, 77)]))",
    "a pid of another life": "put(1, to=1, payload=pack((pid('outside', 2, 1),)))",
    "a kind that there is not": "put(50)",
    "a kind that is not a cell's": "put(64, payload=b'x')",
    "ready once more": "put(69, from_=3)",
    "the end of another process": "put(65, from_=9, payload=pack('normal'))",
    "another stream": "put(66, ref=7, payload=b'x')",
    "two calls under one number": "[put(3, to=1, from_=me, ref=5, payload=pack(1)) for _ in range(2)]",
    "a process of its own that cannot be": "put(1, to=1, payload=pack((pid('cell', 1, -5),)))",
    "output longer than a record can be": f"{LONG} door.peer.put(66, 0, 0, 1, b'x' * 70_000)",
    "a message longer than a record can be": f"{LONG} put(1, to=1, payload=pack(b'x' * 1_000_000))",
    "a message that is too long": "door.longest = 2**40; put(1, to=1, payload=pack(b'x' * 60_000))",
}


REQUESTS = {
    "calls": "[put(3, to=1, from_=me, ref=n, payload=pack(1)) for n in range(1, 2000)]",
    "monitors": "[put(10, to=1, from_=me, ref=n) for n in range(1, 2000)]",
    "files": "[put(67, ref=n, payload=pack(('connect', '127.0.0.1', 1))) for n in range(1, 3000)]",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_more_requests_than_it_may_have_unanswered_end_the_cell(host: Host, name: str) -> None:
    async def check() -> None:
        pid = await cell(f"{DOOR}\nasync def main(parent, collector):\n    {REQUESTS[name]}{AFTER}", spawn(_collect))
        ref = monitor(pid)
        assert (await receive(Down, timeout=10)) == Down(ref, pid, ("limit", "requests"))

    host.run(check)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_forged_record_ends_the_cell(host: Host, name: str) -> None:
    async def check() -> None:
        collector = spawn(_collect)
        pid = await cell(
            f"{DOOR}\nasync def main(parent, collector):\n    {VIOLATIONS[name]}{AFTER}", collector, limits=Limits(message_bytes=50_000)
        )
        ref = monitor(pid)
        assert (await receive(Down, timeout=10)).reason == MAILBOX, ref

    host.run(check)


@pytest.mark.parametrize("kind", [16, 14, 8, 11])
def test_who_asks_and_does_not_read_is_ended(host: Host, kind: int) -> None:
    async def check() -> None:
        pid = await cell(f"{DOOR}\nasync def main(parent):\n    while True: put({kind}, to=1, from_=me, ref=9)")
        ref = monitor(pid)
        assert await answer() == Down(ref, pid, ("limit", "unread"))

    host.run(check)


def test_who_hands_out_too_many_pids_of_its_own_is_ended(host: Host) -> None:
    async def check() -> None:
        forge = "[put(1, to=2, payload=pack((pid('cell', 1, n),))) for n in range(2, 3000)]"
        pid = await cell(f"{DOOR}\nasync def main(parent, collector):\n    {forge}\n    await receive()", spawn(_collect))
        ref = monitor(pid)
        assert await answer() == Down(ref, pid, ("limit", "pids"))

    host.run(check)


async def _collect() -> None:
    while True:
        await receive()


COLLIDING = """
from itertools import product
from beamlike.seam import Code
ZONED = pack((2026, 1, 1, 0, 0, 0, 0, 0, "UTC"))
# hash(-1) == hash(-2), so all tuples of these have one hash
COLLIDING = b"\\x01".join(b"\\x9c" + bytes(0xFF - bit for bit in bits) for bits in product((0, 1), repeat=12))
"""

HARMLESS = {
    "no msgpack": "put(1, to=1, payload=b'\\xc1')",
    "nothing": "put(1, to=1)",
    "an array of 2**32 - 1 items": "put(1, to=1, payload=b'\\xdd\\xff\\xff\\xff\\xff')",
    "64 KiB of empty maps": "put(1, to=1, payload=b'\\xdc\\xff\\xf0' + b'\\x80' * 0xfff0)",
    "nested too deeply": "put(1, to=1, payload=b'\\x91' * 60_000 + b'\\x01')",
    "a map as the key of a map": "put(1, to=1, payload=b'\\x81\\x80\\x01')",
    "keys that collide": "put(1, to=1, payload=pack({n * (2**61 - 1): n for n in range(3)}))",
    "many keys that collide": "put(1, to=1, payload=b'\\xde' + (4096).to_bytes(2, 'big') + COLLIDING + b'\\x01')",
    "a zone of time that would be read from a file": "put(1, to=1, payload=bytes([0xC7, len(ZONED), Code.DATETIME]) + ZONED)",
    "a timestamp": "put(1, to=1, payload=b'\\xd6\\xff\\x00\\x00\\x00\\x00')",
    "a function": "put(1, to=1, payload=b'\\xc7\\x09\\x16os:system')",
    "an instance of a class of ours": "put(1, to=1, payload=pack(Down(None, None, None)))",
    "an unknown extension": "put(1, to=1, payload=b'\\xc7\\x01\\x63x')",
    "the answer to a call that there was not": "put(5, to=1, ref=999, payload=pack(1))",
    "the end of a monitor that there was not": "put(12, ref=999)",
    "the end of its first process": "put(13, ref=me, payload=pack('kill'))",
    "spawn on another node": "put(14, from_=me, ref=9, payload=pack(1))",
    "a message to a name": "put(2, payload=pack(('supervisor', 1)))",
    "an exit signal": "put(6, to=1, from_=me, payload=pack('kill'))",
    "a link": "put(8, to=1, from_=99, ref=3)",
    "a request that is none": "put(67, ref=1, payload=pack(('fly', 1)))",
    "a request with wrong operands": "put(67, ref=1, payload=pack(('open', 1, [])))",
    "operands that no file takes": "put(67, ref=1, payload=pack(('seek', 1, 2**200, 9)))",
    "its bell rung for ever": "[__import__('os').write(door.their_bell, (1).to_bytes(8, 'little')) for _ in range(10_000)]",
    "its bell's counter filled": "__import__('os').write(door.their_bell, (2**64 - 2).to_bytes(8, 'little'))",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_nonsense_goes_nowhere(host: Host, name: str) -> None:
    """What a program might send by mistake costs nobody anything; the cell lives on."""

    async def check() -> None:
        await cell(f"{DOOR}{COLLIDING}\nasync def main(parent):\n    {HARMLESS[name]}{AFTER}")
        while (message := await answer()) != "alive":
            assert type(message) in (dict, tuple, float)

    host.run(check)


def test_a_flood_does_not_starve_others(host: Host) -> None:
    """How fast they are beside it is `python -m benchmarks cells`."""

    async def check() -> None:
        sink, echo = spawn(_collect), spawn(_echo)
        flood = "async def main(parent, sink):\n    send(parent, 'flooding')\n    while True: send(sink, (1, 2, 3))"
        await cell(flood, sink, limits=Limits(messages_per_s=1_000_000_000))
        await receive("flooding".__eq__)
        for _ in range(3000):
            send(echo, self_pid())
            await receive("pong".__eq__, timeout=5)
            await sleep(0)

    host.run(check)


async def _echo() -> None:
    while True:
        send(await receive(), "pong")


def test_messages_per_second_are_limited(host: Host) -> None:
    async def check() -> None:
        program = "async def main(parent):\n    for n in range(400): send(parent, n)\n    send(parent, 'end')\n    await receive()"
        began = time.monotonic()
        await cell(program, limits=Limits(messages_per_s=1000))
        got: list[Any] = []
        while (message := await answer()) != "end":
            got.append(message)
        assert got == list(range(400))
        assert time.monotonic() - began > 0.25  # 400 in a second's 1000, of which the first window's come at once

    host.run(check)


def test_a_flood_to_a_node_that_takes_nothing_waits_in_the_cell() -> None:
    most, least = nodes.run(far_flood.main, nodes=2)
    assert 1 << 20 < most < 2 << 20
    assert least <= most // 2
