"""What is measured of booting, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case

CASES = (
    case(
        "image",
        "4 MB image, until it is checked in memory: Unicorn, a process for each core",
        10,
        3,
        guest="… of that, the cores' own time",
        threads="… threads",
        lockstep="… lockstep",
        ahci="… QEMU, AHCI",
        ide="… QEMU, IDE",
        virtio="… QEMU, virtio",
        nvme="… QEMU, NVMe",
        usb="… QEMU, USB",
        blocks="… hand-off blocks that differ, the time left aside",
    ),
    case(
        "first_message",
        "`beamlike boot` of a 4 MB bundle, from the command to the first message on both of 2 nodes",
        10,
        3,
        loaded="… of that, the machine",
    ),
    case(
        "slave_killed",
        "of 200 boots with 3 cores, the slave SIGKILLed at some moment: not up",
        200,
        20,
        hit="… in how many it was in time",
        lost="… time that a killed slave costs",
        worst="… slowest boot",
    ),
    case(
        "flaky",
        "of 300 boots with a flaky sector each: failed",
        300,
        30,
        memory="… memory that is left, a boot",
        descriptors="… descriptors that are left",
    ),
    case("same", "of 2 boots in lockstep with one seed: events or bytes that differ", death="… with the death of a core"),
)


def _ours(row: str) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"]


TARGETS = (
    Target("4 MB image, Unicorn, a process for each core", _ours("image"), "at most", 0.25, "s"),
    Target("4 MB image, QEMU, AHCI", _ours("image_ahci"), "at most", 1.0, "s"),
    Target("`beamlike boot` to the first message on 2 nodes", _ours("first_message"), "at most", 1.5, "s"),
    Target("hand-off blocks that differ", _ours("image_blocks"), "at most", 0, ""),
    Target("slave killed at some moment: not up", _ours("slave_killed"), "at most", 0, ""),
    Target("a flaky sector: failed", _ours("flaky"), "at most", 0, ""),
    Target("memory that is left, a boot", _ours("flaky_memory"), "at most", 16384, "B"),
    Target("descriptors that are left", _ours("flaky_descriptors"), "at most", 0, ""),
    Target("lockstep with one seed: differences", _ours("same"), "at most", 0, ""),
    Target("… with the death of a core", _ours("same_death"), "at most", 0, ""),
)
