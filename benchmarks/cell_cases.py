"""What is measured of cells, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case

CASES = (
    case(
        "start",
        "start of a cell to its first message, one after the other",
        400,
        50,
        p90="… 90 of 100 take at most",
        worst="… worst",
        calm="… with a pause between",
        calm_p90="… with a pause between, 90 of 100 take at most",
        first="… the first of all, with its zygote",
    ),
    case(
        "echo",
        "message of 64 bytes to a cell and back, awake",
        pid="… with the pid of who is to have the answer in it",
        process="… to an ordinary process of the same node",
    ),
    case(
        "many",
        "",
        200,
        20,
        up="200 cells, one after the other, until all have sent a message",
        at_once="… asked for all at once",
        around="… a message to each, and an answer of each",
        memory="… memory of each (PSS)",
    ),
    case(
        "kill",
        "a cell that loops is killed: its OS process is gone and Down is there",
        50,
        10,
        worst="… worst",
        back="… until its supervisor's next one answers",
        back_worst="… until its supervisor's next one answers, worst",
    ),
    case(
        "flood",
        "p99 of a ping-pong beside a cell that floods, to its p99 without",
        8,
        2,
        p99="… its p99, a round trip",
        calm_p99="… its p99 without",
        middle="… its median",
        calm_middle="… its median without",
        each="… a message of the flood, received",
    ),
    case("rounds", "start and kill of a cell, a round", 1000, 50, left="… descriptors, OS processes and memfds left over after 1,000"),
)


def _ours(row: str, factor: float) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"] * factor


TARGETS = (
    Target("start of a cell, one after the other", _ours("start", 1000), "at most", 5, "ms"),
    Target("start of a cell, with a pause between", _ours("start_calm", 1000), "at most", 5, "ms"),
    Target("200 cells, memory of each", _ours("many_memory", 1 / (1 << 20)), "at most", 3, "MiB"),
    Target("message to a cell and back", _ours("echo", 1e6), "at most", 8, "µs"),
    Target("a cell that loops is killed", _ours("kill", 1000), "at most", 5, "ms"),
    Target("p99 beside a cell that floods, to that without", _ours("flood", 1), "at most", 3),
    Target("left over after 1,000 starts and kills", _ours("rounds_left", 1), "at most", 0, ""),
)
