"""Unikernels on the bare machine: QEMU's, with the node's own memory in it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bare_harness import CAPACITY, FIRMWARES, GCC, LONGEST, QEMU, ROOT, Machine, build

from beamlike import unpack
from beamlike.seam import life, make_pid
from cells.kinds import OUTSIDE
from nodes.kinds import Kind

pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="the bare machine is QEMU's: apt-get install qemu-system-x86"),
    pytest.mark.skipif(GCC is None, reason="unikernels are built by gcc: apt-get install gcc"),
]

HASHER = ROOT / "examples" / "unikernels" / "hasher.c"
MOST_IMAGE = 16 * 1024  # bytes
NORMAL, NO_MEMORY, BROKEN, CRASHED = 3, 193, 195, 197  # statuses of QEMU: see plat_bare.c
DIVIDE, UNDEFINED, PROTECTION, PAGE_FAULT = 0x100, 0x106, 0x10D, 0x10E
STACK_BOTTOM, IMAGE = 0x10000, 0x100000  # of bare.ld

# A call (milliseconds) is answered by what uk_receive returned that waited so long, and the nanoseconds that passed here.
WAITS = """
#include "uk.h"
void uk_main(void) {
    uk_message m;
    uint8_t out[32];
    while (uk_receive(&m, UK_FOREVER) != UK_CALL) {}
    uk_reader r = uk_read_message(&m);
    const uint64_t call = m.call;
    const int64_t begun = uk_now();
    const int outcome = uk_receive(&m, (int)uk_read_int(&r));
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, 2);
    uk_write_int(&w, outcome);
    uk_write_int(&w, uk_now() - begun);
    uk_reply(call, out, uk_written(&w));
}
"""

# Ends in the way that its argument names. A call before is answered with where the undefined instruction is, and the constant.
ENDS = """
#include "uk.h"
extern const uint8_t undefined[];
static const uint64_t constant = 1;
static volatile uint64_t nothing;
static volatile uint8_t data[16] = {0xc3};
static __attribute__((noinline)) uint64_t deeper(volatile uint64_t *above) {
    volatile uint64_t here[64];
    if (*above == 1) return 1;
    here[0] = *above;
    return deeper(here) + here[0];
}
void uk_main(void) {
    uk_message m;
    uint8_t out[32];
    uk_receive(&m, UK_FOREVER);
    uk_reader r = uk_read_message(&m);
    uk_read_tuple(&r);
    const int64_t how = uk_read_int(&r);
    uk_receive(&m, UK_FOREVER);
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, 2);
    uk_write_int(&w, (int64_t)undefined);
    uk_write_int(&w, (int64_t)&constant);
    uk_reply(m.call, out, uk_written(&w));
    volatile uint64_t *volatile at = (volatile uint64_t *)nothing;
    switch (how) {
        case 0: return;
        case 1: uk_exit(7);
        case 2: *at = 1; break;
        case 3: __asm__ volatile("undefined: ud2"); break;
        case 4: deeper(&nothing); break;
        case 5: at = (volatile uint64_t *)(uint64_t)&constant; *at = 2; break;
        case 6: __asm__ volatile("divl %0" : : "r"((uint32_t)nothing) : "rax", "rdx"); break;
        case 7: at = (volatile uint64_t *)0x8000000000000000; *at = 1; break;
        case 8: ((void (*)(void))(uint64_t)data)(); break;
        case 9: at = (volatile uint64_t *)0x80000000; *at = 1; break;
    }
}
"""

# A message is how many microseconds to be deaf; a call is answered with itself.
ECHO = """
#include "uk.h"
UK_INBOX(1 << 20);
void uk_main(void) {
    uk_message m;
    uk_receive(&m, UK_FOREVER);
    for (;;) {
        const int kind = uk_receive(&m, UK_FOREVER);
        if (kind == UK_CALL) uk_reply(m.call, m.value, m.length);
        if (kind != UK_MESSAGE) continue;
        uk_reader r = uk_read_message(&m);
        const int64_t until = uk_now() + uk_read_int(&r) * 1000;
        while (uk_now() < until) {}
    }
}
"""

# A call (pid, number) is answered, and so many messages of a kilobyte are sent before, each with its number.
FLOODS = """
#include "uk.h"
static uint8_t text[1000];
void uk_main(void) {
    uk_message m;
    uint8_t out[1100];
    while (uk_receive(&m, UK_FOREVER) != UK_CALL) {}
    uk_reader r = uk_read_message(&m);
    uk_read_tuple(&r);
    const uk_pid to = uk_read_pid(&r);
    const int64_t number = uk_read_int(&r);
    for (int64_t i = 0; i < number; i++) {
        uk_writer w = uk_write(out, sizeof out);
        uk_write_tuple(&w, 2);
        uk_write_int(&w, i);
        uk_write_bytes(&w, text, sizeof text);
        uk_send(to, out, uk_written(&w));
    }
    uk_reply(m.call, "\\xc0", 1);
}
"""

NOTHING = """
#include "uk.h"
void uk_main(void) {}
"""
READS_CLOCK = """
#include "uk.h"
#include "uk_drivers.h"
void uk_main(void) {
    uk_date date;
    uk_rtc_read(&date);
}
"""

# A call is answered with what the drivers say.
DRIVERS = """
#include "uk.h"
#include "uk_drivers.h"
void uk_main(void) {
    uk_message m;
    uint8_t out[256], random[19] = {0};
    uk_date date;
    while (uk_receive(&m, UK_FOREVER) != UK_CALL) {}
    uk_console_write("a line\\nand another\\n", 19);
    uk_speaker(440);
    const int gate = uk_in8(0x61) & 3;
    uk_speaker(0);
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, 8);
    uk_write_int(&w, uk_rtc_read(&date));
    uk_write_tuple(&w, 6);
    uk_write_int(&w, date.year);
    uk_write_int(&w, date.month);
    uk_write_int(&w, date.day);
    uk_write_int(&w, date.hour);
    uk_write_int(&w, date.minute);
    uk_write_int(&w, date.second);
    uk_write_int(&w, uk_pci_read(uk_pci_find(0x8086, 0x1237), 0));
    uk_write_int(&w, uk_pci_find(0x1234, 0x4321));
    uk_write_int(&w, uk_random(random, sizeof random));
    uk_write_bytes(&w, random, sizeof random);
    uk_write_int(&w, *(volatile uint16_t *)0xb8000);
    uk_write_int(&w, gate);
    uk_reply(m.call, out, uk_written(&w));
}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path | str], Path]:
    """The image of a program, built once."""
    folder = tmp_path_factory.mktemp("bare")
    built: dict[Path | str, Path] = {}

    def get(source: Path | str) -> Path:
        if source not in built:
            built[source] = build(folder / f"program{len(built)}.elf", source)
        return built[source]

    return get


Images = Callable[[Path | str], Path]


def djb2(text: bytes) -> int:
    value = 5381
    for each in text:
        value = (value * 33 + each) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_call_is_answered(image: Images, firmware: str) -> None:
    data = bytes(range(256)) * 9
    with Machine(image(HASHER), firmware=firmware) as machine:
        assert machine.ready() == 64 * 1024
        assert machine.call(("djb2", 1, "HydrOS")) == djb2(b"HydrOS")
        assert machine.call(("djb2", 3, data), ref=2) == djb2(3 * data)
        assert machine.call(("sha256", data), ref=3) == hashlib.sha256(data).digest()


def test_a_message_is_sent_to_a_pid_that_it_was_given(image: Images) -> None:
    with Machine(image(HASHER)) as machine:
        machine.ready()
        machine.send((make_pid(life(OUTSIDE, 1), 77), 2, "text"))
        kind, _, to, from_, ref, payload = machine.get()
        assert (kind, to, from_, ref) == (Kind.SEND, 77, 1, 0)
        assert unpack(payload)[1] == djb2(b"texttext")


def test_the_image_is_small_and_has_no_driver_that_it_does_not_use(image: Images) -> None:
    assert image(HASHER).stat().st_size <= MOST_IMAGE
    nothing, date = image(NOTHING).stat().st_size, image(READS_CLOCK).stat().st_size
    assert nothing + 200 < date < nothing + 1000


@pytest.mark.parametrize("polls", [False, True], ids=["sleeping", "polling"])
def test_a_thousand_calls_are_answered_in_order(image: Images, polls: bool) -> None:
    with Machine(image(HASHER), polls=polls) as machine:
        machine.ready()
        for number in range(1000):
            text = b"%d" % number
            assert machine.call(("djb2", 1, text), ref=number) == djb2(text)


def test_the_first_call_wakes_whatever_the_machine_does_when_it_comes(image: Images) -> None:
    for delay in range(8):
        with Machine(image(HASHER)) as machine:
            machine.ready()
            time.sleep(delay / 1000)
            assert machine.call(("djb2", 1, "")) == 5381


@pytest.mark.parametrize("polls", [False, True], ids=["sleeping", "polling"])
def test_a_machine_that_waits_uses_no_processor_and_wakes(image: Images, polls: bool) -> None:
    with Machine(image(HASHER), polls=polls) as machine:
        machine.ready()
        machine.call(("djb2", 1, "before"))
        time.sleep(0.05)  # it looks for a while before it sleeps
        before = machine.processor_time()
        time.sleep(1.0)
        assert machine.processor_time() - before <= 0.03
        assert machine.call(("djb2", 1, "after")) == djb2(b"after")


@pytest.mark.parametrize("milliseconds", [0, 1, 40, 300])
def test_a_receive_with_a_timeout_returns_when_it_has_passed(image: Images, milliseconds: int) -> None:
    with Machine(image(WAITS)) as machine:
        machine.ready()
        begun = time.monotonic_ns()
        outcome, took = machine.call(milliseconds)
        passed = time.monotonic_ns() - begun
        assert outcome == -1
        assert milliseconds * 1_000_000 <= took <= passed * 1.01


def test_a_receive_with_a_timeout_returns_early_when_a_message_comes(image: Images) -> None:
    with Machine(image(WAITS)) as machine:
        machine.ready()
        machine.ask(1, 20_000)
        machine.send("early")
        outcome, took = machine.answer(1)
        assert outcome == Kind.SEND
        assert took < 10_000_000_000


@pytest.mark.parametrize(("how", "reason"), [(0, "normal"), (1, ("exit", 7))])
def test_a_program_that_ends_says_why_and_the_machine_ends(image: Images, how: int, reason: object) -> None:
    with Machine(image(ENDS), (how,)) as machine:
        machine.ready()
        machine.call(None)
        assert machine.ended() == reason
        assert machine.status() == NORMAL
        assert machine.crash()[0] == 0


WRITES, EXECUTES = 2, 0x11  # bits of a page fault's code


@pytest.mark.parametrize(
    ("how", "number", "code", "address"),
    [
        (2, PAGE_FAULT, WRITES, 0),
        (3, UNDEFINED, 0, 0),
        (4, PAGE_FAULT, WRITES, "below the stack"),
        (5, PAGE_FAULT, WRITES | 1, "constant"),
        (6, DIVIDE, 0, 0),
        (7, PROTECTION, 0, 0),
        (8, PAGE_FAULT, EXECUTES, "data"),
        (9, PAGE_FAULT, WRITES, 0x80000000),
    ],
    ids=["null pointer", "ud2", "stack overflow", "write to a constant", "division", "no address", "data as code", "no memory"],
)
def test_a_crash_is_noted_and_ends_the_machine(image: Images, how: int, number: int, code: int, address: int | str) -> None:
    with Machine(image(ENDS), (how,)) as machine:
        machine.ready()
        undefined, constant = machine.call(None)
        assert machine.status() == CRASHED
        got = machine.crash()
        assert got[:2] == (number, code)
        if address == "below the stack":
            assert STACK_BOTTOM - 4096 <= got[2] < STACK_BOTTOM
        elif address == "data":
            assert got[2] == got[3] > constant
        else:
            assert got[2] == (constant if address == "constant" else address)
        assert got[3] == undefined if how == 3 else got[3] >= IMAGE
        noted = [f"{each:016x}" for each in (number - 0x100, *got[1:])]
        assert machine.log_text() == "crashed: exception {}, code {}, address {}, at {}\n".format(*noted)


def test_messages_may_be_as_long_as_the_inbox(image: Images) -> None:
    data = os.urandom(LONGEST - 5)  # which are packed with five more
    with Machine(image(ECHO)) as machine:
        assert machine.ready() == LONGEST
        for ref in range(1, 6):
            assert machine.call(data, ref) == data


def test_who_writes_to_a_full_mailbox_waits(image: Images) -> None:
    text, number = b"x" * 1000, 3 * CAPACITY // 1000
    with Machine(image(ECHO)) as machine:
        machine.ready()
        machine.send(200_000)
        for _ in range(number):
            machine.send(0)
            machine.put(Kind.SEND, 1, 0, 0, b"\0" + text)  # the int 0, and more
        assert machine.call("after") == "after"


def test_a_program_that_writes_to_a_full_mailbox_waits_and_uses_no_processor(image: Images) -> None:
    number = 5 * CAPACITY // 1000
    with Machine(image(FLOODS)) as machine:
        machine.ready()
        machine.ask(1, (make_pid(life(OUTSIDE, 1), 7), number))
        time.sleep(0.2)
        before = machine.processor_time()
        time.sleep(0.3)
        assert machine.processor_time() - before <= 0.03
        for each in range(number):
            kind, *_, payload = machine.get()
            assert (kind, unpack(payload)[0]) == (Kind.SEND, each)
        assert machine.answer(1) is None


def test_drivers_say_what_the_machine_has(image: Images) -> None:
    with Machine(image(DRIVERS), firmware="bios-256k.bin", options=["-device", "isa-vga"]) as machine:  # which shows text
        machine.ready()
        got, date, bridge, missing, has_random, random, screen, gate = machine.call(None)
        assert got == 0
        assert abs(datetime(*date).replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(seconds=5)
        assert bridge == 0x12378086
        assert missing == -1
        assert has_random == 0
        assert len(set(random)) > 5
        assert screen == 0x0700 | ord("a")
        assert gate == 3
        assert machine.log_text() == "a line\nand another\n"


def test_a_processor_without_a_generator_gives_no_random_numbers(image: Images) -> None:
    with Machine(image(DRIVERS), options=["-cpu", "qemu64"]) as machine:
        machine.ready()
        assert machine.call(None)[4:6] == (-1, bytes(19))


def test_a_machine_without_the_memory_ends(image: Images) -> None:
    with Machine(image(HASHER), devices=[]) as machine:
        assert machine.status() == NO_MEMORY
        assert machine.log_text() == "there is no ivshmem device\n"


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_program_that_is_larger_than_the_memory_is_not_begun(image: Images, firmware: str) -> None:
    large = "uk_message m;\n    static volatile uint8_t large[64 << 20];\n    if (large[7]) uk_exit(1);"
    with Machine(image(ECHO.replace("uk_message m;", large)), firmware=firmware) as machine:
        assert machine.status() == NO_MEMORY
        assert machine.log_text() == "there is too little memory for the program\n"


def test_a_mailbox_that_breaks_ends_the_machine(image: Images) -> None:
    with Machine(image(HASHER)) as machine:
        machine.ready()
        os.pwrite(machine.memfd, bytes([1]), 4096)  # a position that is none
        machine.ring()
        assert machine.status() == BROKEN
