"""What is measured of drivers, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case

CASES = (
    case(
        "inb",
        "inb from a process, checked, on the port bus",
        limited="… from one with exclusions",
        call="… the call into C alone, unchecked",
        io_server="… by the processor of a machine of QEMU's",
        qemu="… by QEMU's test protocol",
    ),
    case(
        "ata", "1 MiB of an ATA disk, a byte, through its driver on the port bus", grant="… by an owner of a part, with the device manager"
    ),
    case("irq", "interrupt to the message in its handler's hands, awake node, port bus"),
    case("ticks", "of 10,000 interrupts of the timer at 1 kHz missing or out of order, port bus", 10_000, 2_000, qemu="… QEMU"),
    case("killed", "driver of a disk killed, until its owner can read again", 100, 30, worst="… worst"),
)


def _ours(row: str, factor: float) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"] * factor


TARGETS = (
    Target("inb, checked", _ours("inb", 1e6), "at most", 0.6, "µs"),
    Target("inb, checked, with exclusions", _ours("inb_limited", 1e6), "at most", 0.6, "µs"),
    Target("1 MiB of an ATA disk", lambda values: 1e-6 / values["ata", "compiled"], "at least", 20, "MB/s"),
    Target("interrupt to its handler's message", _ours("irq", 1e6), "at most", 50, "µs"),
    Target("of 10,000 ticks missing or out of order", _ours("ticks", 1), "at most", 0, ""),
    Target("… on QEMU", _ours("ticks_qemu", 1), "at most", 0, ""),
)
