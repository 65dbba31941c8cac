"""What is measured on one node, and what it should come to; and what all suites are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Values = Mapping[tuple[str, str], float]
"""(row, side) to the median over the rounds; seconds, bytes or a ratio."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a value that a case prints."""

    name: str
    title: str


@dataclass(frozen=True)
class Case:
    """A workload of a size, the same on every side; what it prints under `workload…` is shown as `name…`.

    Args:
        size: what it means is the workload's business: processes, messages, seconds.
        quick_size: the size with `--quick`; None leaves the case out there.
    """

    name: str
    workload: str
    size: int
    quick_size: int | None
    rows: tuple[Row, ...]


def case(name: str, title: str, size: int = 0, quick_size: int | None = 0, workload: str = "", **more: str) -> Case:
    rows = (Row(name, title), *(Row(f"{name}_{suffix}", text) for suffix, text in more.items()))
    return Case(name, workload or name, size, quick_size, rows)


CASES = (
    case("ping_pong", "ping-pong, a hop"),
    case("call", "call to a server, round trip", local="the same by a direct reference to the object"),
    case("spawn_exit", "spawn and exit", 1000, 1000),
    case("check", "caps.check that is permitted, 1 layer", three="the same, 3 layers", none="the same, without exclusions"),
    case("send", "send, without exclusions", excluded="send, with 1 layer that excludes sends to another", three="the same, 3 layers"),
    case("fan_in", "100 senders, one mailbox, a message", 3000, 300),
    case("chain_10", "chain of 10, a hop", 10, 10, "chain"),
    case("chain_503", "chain of 503, a hop", 503, 503, "chain"),
    case("chain_1e3", "chain of 1,000, a hop", 1000, 1000, "chain"),
    case("chain_1e5", "chain of 100,000, a hop", 100_000, 100_000, "chain"),
    case("chain_1e6", "chain of 1,000,000, a hop", 1_000_000, None, "chain"),
    case("queued_call_10", "call, 10 unmatched messages queued", 10, 10, "queued_call"),
    case("queued_call_1e5", "call, 100,000 unmatched messages queued", 100_000, 100_000, "queued_call"),
    case(
        "idle",
        "idle process, resident memory",
        1_000_000,
        100_000,
        accounted="idle process, by the runtime's own account",
        rss="all idle processes, whole OS process",
        spawn="all idle processes, time to spawn",
        gc="longest garbage collection meanwhile",
    ),
    case("gap", "worst gap beside two that compute for ever", 3, 3),
    case(
        "compute",
        "two fixed computations, pre-emption on",
        400_000,
        100_000,
        off="two fixed computations, pre-emption off",
        cost="the first over the second, median of 40 pairs",
    ),
)


@dataclass(frozen=True)
class Target:
    """A bound on one number made of the measured values."""

    title: str
    measure: Callable[[Values], float]
    sense: Literal["at most", "at least"]
    bound: float
    unit: Literal["x", "µs", "ms", "s", "B", "MB", "MiB", "GB", "%", "/s", "GB/s", "MB/s", ""] = "x"

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.sense == "at most" else value >= self.bound


def ratio(above: tuple[str, str], below: tuple[str, str]) -> Callable[[Values], float]:
    return lambda values: values[above] / values[below]


def _growth(row: str, base: str) -> Callable[[Values], float]:
    """How much a cost grows on our side, over how much it grows on Erlang's."""
    return lambda values: (values[row, "compiled"] / values[base, "compiled"]) / (values[row, "erlang"] / values[base, "erlang"])


TARGETS = (
    Target("ping-pong hop, to Erlang's", ratio(("ping_pong", "compiled"), ("ping_pong", "erlang")), "at most", 1.3),
    Target("ping-pong hop uncompiled, to Erlang's", ratio(("ping_pong", "pure"), ("ping_pong", "erlang")), "at most", 2.5),
    Target("ping-pong hop, faster than trio channels", ratio(("ping_pong", "trio"), ("ping_pong", "compiled")), "at least", 15),
    Target("permitted check, 3 layers", lambda values: values["check_three", "compiled"] * 1e6, "at most", 0.3, "µs"),
    Target("call, to gen_server:call", ratio(("call", "compiled"), ("call", "erlang")), "at most", 2),
    Target("call, faster than Pykka's ask", ratio(("call", "pykka"), ("call", "compiled")), "at least", 30),
    Target("call, faster than xoscar's", ratio(("call", "xoscar"), ("call", "compiled")), "at least", 20),
    Target("call, faster than xoscar's direct reference", ratio(("call_local", "xoscar"), ("call", "compiled")), "at least", 20),
    Target("spawn and exit, faster than Erlang's", ratio(("spawn_exit", "erlang"), ("spawn_exit", "compiled")), "at least", 2),
    Target("rate into one mailbox, to Erlang's", ratio(("fan_in", "erlang"), ("fan_in", "compiled")), "at least", 1),
    Target("growth of a hop from 10 to 1,000,000 alive, to Erlang's growth", _growth("chain_1e6", "chain_10"), "at most", 1),
    Target("chain of 100,000, a hop, to a chain of 503", ratio(("chain_1e5", "compiled"), ("chain_503", "compiled")), "at most", 2.5),
    Target("idle process", lambda values: values["idle", "compiled"], "at most", 1200, "B"),
    Target("one million idle processes", lambda values: values["idle_rss", "compiled"] / 1e6, "at most", 1500, "MB"),
    Target("worst gap beside two that compute", lambda values: values["gap", "compiled"] * 1000, "at most", 25, "ms"),
    Target("worst gap beside two that compute, uncompiled", lambda values: values["gap", "pure"] * 1000, "at most", 25, "ms"),
    Target("cost of pre-emption", lambda values: values["compute_cost", "compiled"], "at most", 1.05),
    Target(
        "call with 100,000 queued, to one with 10", ratio(("queued_call_1e5", "compiled"), ("queued_call_10", "compiled")), "at most", 1.2
    ),
)
