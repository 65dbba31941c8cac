"""What is measured between nodes, and what it should come to."""

from collections.abc import Callable

from benchmarks.cases import Target, Values, case, ratio

KILLED = {
    "told": "a node is killed: until all others know",
    "back": "… until it is back and answers",
    "call": "… until a call in flight to it fails",
    "service": "… until a distributed child that ran there answers",
    "pair": "… until a process pair whose primary was there answers",
}

CASES = (
    case("hop", "hop between two nodes, 64 bytes"),
    case("one_way", "one way, 64 bytes, a message"),
    case("one_way_large", "one way, 1 MiB, a message"),
    case("call", "call to a server of another node, round trip"),
    case("idle_node", "share of a core that an idle node takes"),
    case("start", "start of 4 nodes, to main's first line", 4, 4),
    case("kill", "", 12, 3, **KILLED, **{f"{what}_worst": f"{title}, worst" for what, title in KILLED.items()}),
    case("stop", "", 3, 1, late="a node is stopped: noticed, beyond hang_timeout", gap="… longest pause of processes on the others"),
    case(
        "many",
        "",
        60,
        12,
        up="60 nodes, to main's first line",
        around="… a message through all of them",
        memory="… memory of all (PSS)",
        end="… from main's end to the end of all",
    ),
)

MIB = 1 << 20


def _of_better_erlang(row: str) -> Callable[[Values], float]:
    """How many times the time of the better of Erlang's sides is ours."""

    def measure(values: Values) -> float:
        sides = [side for side in ("erlang", "erlang_awake") if (row, side) in values]
        return min(values[row, side] for side in sides or ["erlang"]) / values[row, "compiled"]

    return measure


def _ours(row: str, factor: float) -> Callable[[Values], float]:
    return lambda values: values[row, "compiled"] * factor


TARGETS = (
    Target("hop, faster than Erlang's distribution", _of_better_erlang("hop"), "at least", 12),
    Target("hop", _ours("hop", 1e6), "at most", 4, "µs"),
    Target("messages one way", lambda values: 1 / values["one_way", "compiled"], "at least", 800_000, "/s"),
    Target("rate one way, to Erlang's", _of_better_erlang("one_way"), "at least", 1),
    Target("1 MiB messages one way", lambda values: MIB / values["one_way_large", "compiled"] / 1e9, "at least", 1, "GB/s"),
    Target("call, faster than Ray's", ratio(("call", "ray"), ("call", "compiled")), "at least", 50),
    Target("call, faster than xoscar's", ratio(("call", "xoscar"), ("call", "compiled")), "at least", 20),
    Target("an idle node", _ours("idle_node", 100), "at most", 1, "%"),
    Target("start of 4 nodes", _ours("start", 1), "at most", 0.6, "s"),
    Target("killed: all others know", _ours("kill_told", 1000), "at most", 20, "ms"),
    Target("killed: back and answers", _ours("kill_back", 1000), "at most", 150, "ms"),
    Target("killed: a call in flight fails, worst", _ours("kill_call_worst", 1000), "at most", 50, "ms"),
    Target("killed: a distributed child answers", _ours("kill_service", 1000), "at most", 100, "ms"),
    Target("killed: a process pair answers", _ours("kill_pair", 1000), "at most", 30, "ms"),
    Target("stopped: noticed, beyond hang_timeout", _ours("stop_late", 1000), "at most", 100, "ms"),
    Target("60 nodes up", _ours("many_up", 1), "at most", 10, "s"),
    Target("60 nodes, memory", _ours("many_memory", 1e-9), "at most", 3, "GB"),
)
