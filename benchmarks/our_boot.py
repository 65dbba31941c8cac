"""The cases of booting."""

import gc
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from beamlike.hot import is_compiled
from benchmarks import bench
from benchmarks.bench import Bench, emit, resident_bytes
from benchmarks.ours import as_main
from boot.bundle.archive import pack_bundle
from boot.bundle.reading import read_plan
from boot.engines.disk import Death, FaultPlan, Moment
from boot.engines.lockstep import LockstepMachine
from boot.engines.machine import BootMachine, BootResult
from boot.engines.processes import ProcessMachine
from boot.engines.qemu import QEMU, Device, QemuMachine
from boot.engines.threads import ThreadMachine
from boot.errors import BootError
from boot.guest.layout import CHUNK_SECTORS, PAYLOAD_LBA, TICKS_PER_SECOND
from boot.image import build_image

PAYLOAD = random.Random(1).randbytes(4 << 20)
CHECKSUM = crc32(PAYLOAD)
SECTORS = len(PAYLOAD) // 512
LATEST_KILL = 0.15  # seconds after the slave was seen first

folder = tempfile.TemporaryDirectory(prefix="beamlike-bench-")
file = Path(folder.name, "image")
file.write_bytes(build_image(PAYLOAD))


async def boot(machine: BootMachine) -> BootResult:
    """Boot, and close the memory. Raises: BootError: it has not booted, or something else."""
    with await machine.boot(file) as result:
        if result.info.payload_crc != CHECKSUM:
            raise BootError(f"the payload has the checksum {result.info.payload_crc:08x}, expected {CHECKSUM:08x}")
        return result


async def image(bench: Bench) -> None:
    machines: dict[str, BootMachine] = {"": ProcessMachine(), "_threads": ThreadMachine(), "_lockstep": LockstepMachine()}
    if shutil.which(QEMU):
        machines |= {f"_{device.name.lower()}": QemuMachine(device=device) for device in Device}
    blocks = set()
    for suffix, machine in machines.items():
        results = [await boot(machine) for _ in range(bench.size)]
        blocks |= {replace(result.info, ticks=0) for result in results}
        emit(f"image{suffix}", "seconds", [result.seconds for result in results])
        if not suffix:
            emit("image_guest", "seconds", [result.info.ticks / TICKS_PER_SECOND for result in results])
    emit("image_blocks", "ratio", [float(len(blocks) - 1)])


PROGRAM = """
import os
from beamlike import receive, send
from nodes import list_nodes


async def serve():
    await receive()
    os.write(1, b"handled\\n")


async def tell():
    for node in list_nodes():
        send(("server", node), "hello")
"""
PLAN = """
modules = ["program.py", "ballast"]
[[node]]
name = "a"
[[node]]
name = "b"
[[child]]
start = "program:serve"
options = { name = "server" }
restart = "temporary"
[[child]]
start = "program:serve"
options = { name = "server" }
restart = "temporary"
node = "b"
[[goal]]
name = "tell"
start = "program:tell"
requires = ["tree"]
"""


async def first_message(bench: Bench) -> None:
    place = Path(folder.name)
    (place / "ballast").mkdir()
    (place / "ballast" / "bytes").write_bytes(PAYLOAD)
    (place / "program.py").write_text(PROGRAM)
    (place / "plan.toml").write_text(PLAN)
    bundle = place / "bundle.img"
    bundle.write_bytes(build_image(pack_bundle(*read_plan(place / "plan.toml"))))
    times = [until_first_message(bundle) for _ in range(bench.size)]
    emit("first_message", "seconds", [handled for handled, _ in times])
    emit("first_message_loaded", "seconds", [loaded for _, loaded in times])


def until_first_message(bundle: Path) -> tuple[float, float]:
    """Seconds from the command to the messages; and of these, those until the bundle was loaded, without Python's own start."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "boot", "boot", str(bundle), "--json"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        for _ in range(2):
            if program.stdout.readline() != "handled\n":
                raise RuntimeError(program.stderr.read())
        handled = time.perf_counter() - begun
        program.terminate()
        (loaded,) = (told["seconds"] for told in map(json.loads, program.stderr) if told["kind"] == "loaded")
    return handled, loaded


def children(pid: int) -> list[int]:
    """Of all threads: a boot is in one of its own."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


class Killer(threading.Thread):
    """Kills the OS process of core 1, so long after it was seen first."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self.over = threading.Event()
        self._delay = delay

    def run(self) -> None:
        while not self.over.wait(0.001):
            with suppress(OSError):  # what has been seen may have ended
                for pid in [core for forge in children(os.getpid()) for core in children(forge)]:
                    if Path(f"/proc/{pid}/comm").read_text() == "core 1\n":
                        self.over.wait(self._delay)
                        os.kill(pid, signal.SIGKILL)
                        return


async def slave_killed(bench: Bench) -> None:
    chance = random.Random(1)
    failed, hit, missed = 0, list[float](), list[float]()
    for _ in range(bench.size):
        killer = Killer(chance.uniform(0, LATEST_KILL))
        killer.start()
        try:
            result = await boot(ProcessMachine(cores=3))
            (hit if result.info.failovers or result.info.dead else missed).append(result.seconds)
        except BootError:
            failed += 1
        finally:
            killer.over.set()
            killer.join()
    undisturbed = [(await boot(ProcessMachine(cores=3))).seconds for _ in range(10)]
    emit("slave_killed", "ratio", [float(failed)])
    emit("slave_killed_hit", "ratio", [float(len(hit))])
    emit("slave_killed_lost", "seconds", [statistics.median(hit) - statistics.median(undisturbed)])
    emit("slave_killed_worst", "seconds", [max(hit + missed)])


async def flaky(bench: Bench) -> None:
    async def once(number: int) -> bool:
        plan = FaultPlan(flaky={PAYLOAD_LBA + (number * 37 * CHUNK_SECTORS + number) % SECTORS: 1})
        try:
            result = await boot(ProcessMachine(faults=plan))
        except BootError:
            return False
        return result.info.retries == 1

    for number in range(10):
        await once(number)
    gc.collect()
    memory, descriptors = resident_bytes(), len(os.listdir("/proc/self/fd"))
    failed = 0
    for number in range(bench.size):
        failed += not await once(number)
    gc.collect()
    emit("flaky", "ratio", [float(failed)])
    emit("flaky_memory", "bytes", [max(0.0, (resident_bytes() - memory) / bench.size)])
    emit("flaky_descriptors", "ratio", [float(len(os.listdir("/proc/self/fd")) - descriptors)])


async def same(bench: Bench) -> None:
    async def differ(plan: FaultPlan) -> float:
        found = set()
        for _ in range(2):
            with await LockstepMachine(cores=3, faults=plan).boot(file) as result:
                found.add((result.events, crc32(result.memory.map)))
        return float(len(found) - 1)

    emit("same", "ratio", [await differ(FaultPlan())])
    emit("same_death", "ratio", [await differ(FaultPlan(deaths=(Death(1, 60, Moment.INSIDE),)))])


if __name__ == "__main__":
    bench.main(
        "compiled core" if is_compiled() else "uncompiled core",
        {case.__name__: as_main(case) for case in (image, first_message, slave_killed, flaky, same)},
    )
