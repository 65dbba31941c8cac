"""Engines that boot the same image: it is the same to all of them."""

from __future__ import annotations

import dataclasses
from typing import Any
from zlib import crc32

import pytest
from attempts import CHUNKS, ENGINES, PAYLOAD, boot, engines, machine, needs_unicorn, plain_image
from machines import needs_qemu

from boot.engines import qemu, unicorns
from boot.engines.disk import Death, FaultPlan, Moment
from boot.engines.events import guest_seconds
from boot.engines.lockstep import LockstepMachine
from boot.engines.machine import BootMachine
from boot.engines.memory import GuestMemory
from boot.engines.processes import ProcessMachine
from boot.engines.qemu import Device, QemuMachine
from boot.errors import EngineUnavailableError
from boot.guest.layout import MB_CLOCK, MB_LAST, PAYLOAD_LBA, TICKS_PER_SECOND, Kind, Reason
from boot.image import LOAD_ADDRESS, build_image

SERIAL = f"primary: 64-bit mode\r\nslave: core 00000001\r\nBOOT OK crc {crc32(PAYLOAD):08x}\r\n"
EVERY_MACHINE = [
    *(pytest.param(name, None, marks=needs_unicorn, id=name) for name in ENGINES if name != "qemu"),
    *(pytest.param("qemu", device, marks=needs_qemu, id=f"qemu-{device.name.lower()}") for device in Device),
]


def machine_of(engine: str, device: Device | None) -> BootMachine:
    return machine(engine) if device is None else QemuMachine(memory=16, device=device)


@pytest.mark.parametrize(("engine", "device"), EVERY_MACHINE)
def test_the_same_image_gives_the_same_payload_hand_off_block_and_words(engine: str, device: Device | None) -> None:
    booted = boot(machine_of(engine, device), plain_image())
    assert booted.payload == PAYLOAD
    assert booted.serial == SERIAL
    info = {name: value for name, value in dataclasses.asdict(booted.info).items() if value and name != "ticks"}
    assert info == {
        "version": 1,
        "reason": Reason.OK,
        "payload_bytes": len(PAYLOAD),
        "load_address": LOAD_ADDRESS,
        "payload_crc": crc32(PAYLOAD),
        "chunks": CHUNKS,
        "chunk": CHUNKS,
        "slave": 1,
    }


@pytest.mark.parametrize(("engine", "device"), EVERY_MACHINE)
def test_the_events_tell_each_read_and_each_hand_off(engine: str, device: Device | None) -> None:
    booted = boot(machine_of(engine, device), plain_image())
    whole = [PAYLOAD_LBA + 64 * chunk for chunk in range(CHUNKS)]
    counts = [*[64] * (CHUNKS - 1), 2]
    reads = [(16, 1), (17, 1), *zip(whole, counts, strict=True)]
    assert [(event.lba, event.count) for event in booted.of(Kind.READING)] == reads
    assert [(event.lba, event.count) for event in booted.of(Kind.READ)] == reads
    assert [(event.lba, event.count, event.more) for event in booted.of(Kind.MOVED)] == [(*each, at) for at, each in enumerate(reads[2:])]
    assert [event.kind for event in booted.events[:2]] == [Kind.CALLED, Kind.CAME]
    assert {event.core for event in booted.events} == {1}
    times = [event.seconds for event in booted.events]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 20


@pytest.mark.parametrize("size", [1, 511, 512, 32768, 32769])
@pytest.mark.parametrize("engine", engines("processes", "qemu"))
def test_payloads_of_any_size_come_whole(engine: str, size: int) -> None:
    assert boot(machine(engine), build_image(PAYLOAD[:size])).payload == PAYLOAD[:size]


@pytest.mark.parametrize("plan", [FaultPlan(), FaultPlan(deaths=(Death(1, 6, Moment.INSIDE),))], ids=["no faults", "a death"])
@needs_unicorn
def test_in_lockstep_the_same_seed_gives_the_same_events_and_the_same_memory(plan: FaultPlan) -> None:
    def once(seed: int) -> tuple[object, int]:
        booted = boot(LockstepMachine(cores=3, memory=16, faults=plan, seed=seed), plain_image(), keeps_memory=True)
        assert booted.payload == PAYLOAD
        return booted.events, crc32(booted.memory)

    first = once(3)
    assert once(3) == first
    assert once(4) != first


@needs_unicorn
def test_a_latency_of_the_medium_is_no_death() -> None:
    booted = boot(ProcessMachine(memory=16, faults=FaultPlan(latency=0.02)), plain_image())
    assert (booted.payload, booted.info.failovers) == (PAYLOAD, 0)


@pytest.mark.parametrize("engine", ["processes", "threads", "lockstep"])
def test_without_unicorn_the_engine_says_what_to_install(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorns, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r"Unicorn is not installed: pip install 'beamlike\[boot\]'"):
        boot(machine(engine), plain_image())


def test_without_qemu_the_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "QEMU", "no-such-qemu")
    with pytest.raises(EngineUnavailableError, match="no-such-qemu is not on the path: apt-get install qemu-system-x86 seabios"):
        boot(machine("qemu"), plain_image())


@pytest.mark.parametrize("cores", [0, 33])
def test_a_machine_of_no_cores_or_too_many_is_refused(cores: int) -> None:
    with pytest.raises(ValueError, match=f"cores is {cores}, expected 1 to 32"):
        ProcessMachine(cores=cores)


@pytest.mark.parametrize("memory", [3, 2049, 4096])
def test_a_machine_of_too_little_memory_or_too_much_is_refused(memory: int) -> None:
    with pytest.raises(ValueError, match=f"memory is {memory}, expected 4 to 2048 MiB"):
        ProcessMachine(memory=memory)


@pytest.mark.parametrize("memory", [4, 2048])
@pytest.mark.parametrize("engine", engines())
def test_a_machine_of_the_least_and_the_most_memory_boots(engine: str, memory: int) -> None:
    kind: Any = ENGINES[engine]
    assert boot(kind(memory=memory), plain_image()).payload == PAYLOAD


def test_a_fault_that_qemu_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="expected `bad` and `flaky` alone"):
        QemuMachine(faults=FaultPlan(latency=1.0))


@pytest.mark.parametrize(("last", "ticks", "later"), [(500, 510, 10), (500, 490, -10), (0xFFFFF0, 0x10, 0x20), (0x10, 0xFFFFF0, -0x20)])
def test_what_the_engine_sees_has_the_primarys_time_also_if_that_has_looked_since(last: int, ticks: int, later: int) -> None:
    memory = GuestMemory(4096)
    for at, value in ((MB_CLOCK, 1000), (MB_LAST, last)):
        memory.map[at : at + 4] = value.to_bytes(4, "little")
    assert guest_seconds(memory, ticks) == (1000 + later) / TICKS_PER_SECOND
    memory.close()
