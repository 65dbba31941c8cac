"""The options of supervisors, checked."""

from __future__ import annotations

from typing import Literal

from beamlike.behaviours.child import ChildSpec
from beamlike.behaviours.restarts import Backoff, RestartWindow
from beamlike.records import record

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")


@record
class Options:
    """What a supervisor was started with; see `Supervisor.start_link` and `DynamicSupervisor.start_link`."""

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = "never"
    backoff: Backoff | None = None
    hold: bool = False
    max_children: int | None = None

    def __post_init__(self) -> None:
        RestartWindow(self.intensity, self.period)
        most = self.max_children
        for name, holds, expected in (
            ("strategy", self.strategy in STRATEGIES, "'one_for_one', 'one_for_all' or 'rest_for_one'"),
            ("auto_shutdown", self.auto_shutdown in AUTO_SHUTDOWNS, "'never', 'any_significant' or 'all_significant'"),
            ("backoff", self.backoff is None or type(self.backoff) is Backoff, "None or a Backoff(first, factor, most, jitter)"),
            ("hold", type(self.hold) is bool, "True or False"),
            ("max_children", most is None or (type(most) is int and most >= 0), "None or a number >= 0"),
        ):
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    def check_child(self, spec: ChildSpec) -> None:
        """ValueError if a supervisor with these options cannot have this child."""
        if spec.significant and self.auto_shutdown == "never":
            raise ValueError(f"child {spec.id!r} is significant, which means nothing to a supervisor with auto_shutdown='never'")
        if spec.node is not None:
            raise ValueError(f"child {spec.id!r} has node={spec.node!r}: this supervisor starts its children on its own node, leave it out")
