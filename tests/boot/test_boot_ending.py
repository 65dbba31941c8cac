"""Boots that are broken off, killed, or done many times: nothing is left of them."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attempts import FIRST, PAYLOAD, boot, engines, machine, needs_unicorn, open_descriptors, plain_image
from boot_killers import Killer, descendants, is_alive

from beamlike import exit, receive, run, sleep, spawn_monitor
from boot.engines import processes
from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.processes import ProcessMachine
from boot.errors import EngineError, PrimaryDiedError
from caps import CapabilityError

PATIENCE = 20.0
HANG = b"\xeb\xfe"  # jmp to itself
BROKEN_OFF = (0.0, 0.03, 0.12, 0.25)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def image() -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(plain_image())
        file.flush()
        yield file.name


def slow(engine: str) -> FaultPlan:
    """A boot that takes a second, but for QEMU, which takes long enough."""
    return NO_FAULTS if engine == "qemu" else FaultPlan(latency=0.05)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "something is left"
        await sleep(0.005)


@pytest.mark.parametrize("engine", engines())
def test_nothing_is_left_of_a_boot_whose_process_is_killed(engine: str, image: str) -> None:
    async def booting() -> None:
        (await machine(engine, faults=slow(engine)).boot(image)).close()

    async def main() -> None:
        before, descriptors = descendants(), open_descriptors()
        for delay in BROKEN_OFF:
            pid, _ = spawn_monitor(booting)
            await sleep(delay)
            exit(pid, "kill")
            await receive()
            await until(lambda: descendants() == before and open_descriptors() == descriptors)

    run(main)


@pytest.mark.parametrize("engine", engines())
def test_nothing_is_left_of_a_boot_that_hangs_and_is_cancelled(engine: str, tmp_path: Path) -> None:
    hanging = tmp_path / "image"
    hanging.write_bytes(HANG.ljust(510, b"\0") + b"\x55\xaa" + plain_image()[512:])

    async def booting() -> None:
        with trio.move_on_after(0.2) as scope:
            await machine(engine).boot(hanging)
        assert scope.cancelled_caught

    async def main() -> None:
        before, descriptors = descendants(), open_descriptors()
        spawn_monitor(booting, io=True)
        down = await receive()
        assert down.reason == "normal"
        await until(lambda: descendants() == before and open_descriptors() == descriptors)

    run(main)


@pytest.mark.parametrize("engine", engines("processes", "qemu"))
def test_no_core_outlives_the_interpreter_that_is_killed(engine: str, image: str) -> None:
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from attempts import machine, run\n"
        "from boot.engines.disk import FaultPlan\n"
        f"run(machine({engine!r}, faults={slow(engine)!r}).boot, {image!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as interpreter:
        expected = 3 if engine == "processes" else 1
        deadline = time.monotonic() + PATIENCE
        while len(below := descendants(interpreter.pid)) < expected:
            assert time.monotonic() < deadline
        interpreter.kill()
        interpreter.wait()
        while any(map(is_alive, below)):
            assert time.monotonic() < deadline, "a core is left"


@needs_unicorn
def test_a_slave_that_is_killed_at_any_moment_is_replaced() -> None:
    hits = 0
    chance = random.Random(5)
    for _ in range(6):
        with Killer(1, chance.uniform(0, 0.05)) as killer:
            booted = boot(ProcessMachine(cores=3, memory=16, faults=FaultPlan(latency=0.004)), plain_image())
        assert booted.payload == PAYLOAD
        assert booted.info.dead_cores == ([1] if killer.hit else [])
        hits += killer.hit
    assert hits > 3


@needs_unicorn
def test_a_primary_that_is_killed_is_told_at_once(image: str) -> None:
    begun = time.monotonic()
    with Killer(0, 0.05), pytest.raises(PrimaryDiedError, match="its OS process was killed"):
        boot(ProcessMachine(memory=16, faults=FaultPlan(latency=0.05)), plain_image())
    assert time.monotonic() - begun < PATIENCE / 2


@pytest.mark.parametrize("engine", engines())
def test_many_boots_with_a_flaky_sector_each_leave_no_memory_and_no_descriptors(engine: str) -> None:
    def once(number: int) -> None:
        flaky = FaultPlan(flaky={FIRST + 37 * number % 700: 1})
        booted = boot(machine(engine, faults=flaky), plain_image())
        assert (booted.payload, booted.info.retries) == (PAYLOAD, 1)

    for number in range(3):
        once(number)
    gc.collect()
    resident, descriptors = resident_kilobytes(), open_descriptors()
    for number in range(8):
        once(number)
    gc.collect()
    assert open_descriptors() == descriptors
    assert resident_kilobytes() < resident + 8 * 1024


@needs_unicorn
def test_a_result_that_nobody_closes_is_told_and_leaves_no_descriptor(image: str) -> None:
    async def main() -> None:
        (await machine("threads").boot(image)).close()
        descriptors = open_descriptors()
        results.append(await machine("threads").boot(image))
        assert open_descriptors() > descriptors
        with pytest.warns(ResourceWarning, match="unclosed file"):
            await forget(descriptors)
        assert open_descriptors() == descriptors

    results = list[Any]()

    async def forget(descriptors: int) -> None:
        results.clear()
        end = time.monotonic() + PATIENCE
        while open_descriptors() > descriptors and time.monotonic() < end:
            await sleep(0.001)  # the thread that waited for it may be about to forget it

    run(main)


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


@needs_unicorn
def test_what_is_had_of_a_core_is_not_inherited_by_other_os_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    found, fork = [], processes.Forge.fork

    def watched(*arguments: Any) -> int:
        pidfd = fork(*arguments)
        found.append(os.get_inheritable(pidfd))
        return pidfd

    monkeypatch.setattr(processes.Forge, "fork", watched)
    boot(ProcessMachine(memory=16), plain_image())
    assert found == [False, False]


@needs_unicorn
def test_a_forge_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", "raise SystemExit('no such thing as a core')")
    with pytest.raises(EngineError, match="does not answer: no such thing as a core"):
        boot(ProcessMachine(memory=16), plain_image())


@needs_unicorn
@pytest.mark.parametrize(("core", "what"), [(0, "Bios.call"), (1, "Core._on_cpuid")])
def test_what_fails_around_a_core_is_no_death_of_the_core(core: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = f"from boot.engines.core import Bios, Core; {what} = lambda *_: 1 // 0; from boot.engines.core_process"
    monkeypatch.setattr(processes, "_PROGRAM", processes._PROGRAM.replace("from boot.engines.core_process", failing))
    with pytest.raises(EngineError, match=f"OS process of core {core} has failed: ZeroDivisionError: integer division"):
        boot(ProcessMachine(memory=16), plain_image())


@pytest.mark.parametrize("engine", engines())
def test_an_image_that_is_not_there_is_told(engine: str) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await machine(engine).boot("/no/such/image")

    run(main)


@pytest.mark.parametrize(
    ("engine", "excluded"), [("processes", ("device", "unicorn")), ("qemu", ("device", "qemu")), ("threads", ("blocking", "all"))]
)
def test_an_exclusion_refuses_a_boot_and_nothing_is_left(engine: str, excluded: tuple[str, str], image: str) -> None:
    async def booting() -> None:
        descriptors = open_descriptors()
        with pytest.raises(CapabilityError):
            await machine(engine).boot(image)
        assert open_descriptors() == descriptors

    async def main() -> None:
        # With one of its own: what a layer permits is kept, also what test_privileged has permitted to a like one without any checks.
        spawn_monitor(booting, exclude=[excluded, ("device", "nobody's")])
        assert (await receive()).reason == "normal"

    run(main)
