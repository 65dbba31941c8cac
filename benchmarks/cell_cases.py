"""What is measured of cells, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case

CASES = (
    case(
        "start",
        "start of a cell to its first message, one right after the other",
        300,
        30,
        p90="… 90 of 100 take at most",
        worst="… worst",
        calm="… with a pause between",
        calm_p90="… with a pause between, 90 of 100 take at most",
        calm_worst="… with a pause between, worst",
        first="… the first of all, with its zygote",
    ),
    case(
        "many",
        "",
        200,
        200,
        up="200 cells, one after the other, to the last one's first message",
        at_once="… asked for by 200 processes at once",
        around="… a message to each and an answer of each",
        memory="… memory of each (PSS)",
    ),
    case(
        "echo",
        "message of 64 bytes to a cell and back",
        pid="… with a pid in it, to which the answer goes",
        process="… to a process of the same node and back",
    ),
    case(
        "kill",
        "kill of a cell that loops, until it is gone and Down is there",
        50,
        10,
        worst="… worst",
        back="… until the one that its supervisor starts instead answers",
        back_worst="… until the one that its supervisor starts instead answers, worst",
    ),
    case(
        "flood",
        "ping-pong beside a cell that floods: its p99, to that without",
        8,
        2,
        p99="… p99 of a round trip beside it",
        alone="… p99 of a round trip without",
        each="… a message of the flood, received meanwhile",
        paced="… with a pause of 0.5 ms before each round trip: its p99, to that without",
        paced_p99="… p99 of a round trip beside it",
        paced_alone="… p99 of a round trip without",
        paced_each="… a message of the flood, received meanwhile",
    ),
    case("rounds", "start and kill, a round", 1000, 1000, left="… left over of 1,000: descriptors, OS processes, shared memory"),
)

MIB = 1 << 20


def _ours(row: str, factor: float) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"] * factor


TARGETS = (
    Target("start, one right after the other", _ours("start", 1000), "at most", 5, "ms"),
    Target("start, with a pause between", _ours("start_calm", 1000), "at most", 5, "ms"),
    Target("200 cells, memory of each", _ours("many_memory", 1 / MIB), "at most", 3, "MiB"),
    Target("message to a cell and back", _ours("echo", 1e6), "at most", 8, "µs"),
    Target("kill of a cell that loops", _ours("kill", 1000), "at most", 5, "ms"),
    Target("p99 beside a cell that floods, to that without", _ours("flood", 1), "at most", 3),
    Target("left over of 1,000 starts and kills", _ours("rounds_left", 1), "at most", 0, ""),
)
