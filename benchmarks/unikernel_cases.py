"""What is measured of unikernels, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case

CASES = (
    case(
        "start",
        "start of a unikernel to its first reply",
        100,
        20,
        p90="… 90 of 100 take at most",
        bare="… on the bare machine (QEMU, TCG)",
    ),
    case(
        "echo",
        "message of 64 bytes to a unikernel and back",
        call="… a call",
        pipelined="… a message and its answer, 64 on the way",
        calls="… a call, by 64 processes at once",
    ),
    case("djb2", "DJB2, a byte, over 1 GB in one call", 1, 1, python="… the same loop in Python"),
    case(
        "crash",
        "crash (or kill, in turn) under load, until the one that its supervisor starts instead answers",
        200,
        40,
        worst="… worst",
        left="… left over: descriptors and OS processes",
    ),
)


def _ours(row: str, factor: float) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"] * factor


TARGETS = (
    Target("start on Linux", _ours("start", 1000), "at most", 3, "ms"),
    Target("start on the bare machine", _ours("start_bare", 1000), "at most", 400, "ms"),
    Target("message of 64 bytes and back", _ours("echo", 1e6), "at most", 4, "µs"),
    Target("messages and answers a second, pipelined", lambda values: 1 / values["echo_pipelined", "compiled"], "at least", 400_000, "/s"),
    Target("calls a second, by 64 processes", lambda values: 1 / values["echo_calls", "compiled"], "at least", 400_000, "/s"),
    Target(
        "DJB2, to the same loop in Python", lambda values: values["djb2_python", "compiled"] / values["djb2", "compiled"], "at least", 50
    ),
    Target("DJB2, to the C loop alone", lambda values: values["djb2", "compiled"] / values["djb2", "c"], "at most", 1.05),
    Target("crash, until it answers again", _ours("crash", 1000), "at most", 20, "ms"),
    Target("… the worst of 200", _ours("crash_worst", 1000), "at most", 20, "ms"),
    Target("left over of 200 crashes", _ours("crash_left", 1), "at most", 0, ""),
)
