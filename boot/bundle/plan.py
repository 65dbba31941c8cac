"""What a system is to be, as values: its nodes, what each runs, its init goals, and what nothing in it may do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from boot.goals import Goal

TREE, UP = "tree", "up"
"""Goals that each system has: the trees of the nodes; a step that is done when all has come up, or is known not to."""


@dataclass(frozen=True)
class NodePlan:
    """A node: the number of its core, or None; exclusions for all that is started on it."""

    name: str
    core: int | None
    exclude: tuple[Any, ...]


@dataclass(frozen=True)
class ChildPlan:
    """A child of the supervisor of its node, `ChildSpec.of(start, *args, id=…, **options)`."""

    id: str
    start: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    node: str | None
    restart: str
    shutdown: float | str
    exclude: tuple[Any, ...]


@dataclass(frozen=True)
class UnikernelPlan:
    """A unikernel, before the children of its node: `start_unikernel(image, *args, name=…)`. `image`: where it is in the bundle."""

    name: str
    image: str
    args: tuple[Any, ...]
    node: str | None
    core: int | None
    memory: int
    cpu: float | None
    heartbeat: float | None
    restart: str
    exclude: tuple[Any, ...]


@dataclass(frozen=True)
class GoalPlan:
    """An init goal: see `boot.goals.Goal`."""

    name: str
    start: str
    args: tuple[Any, ...]
    requires: tuple[str, ...]
    wants: tuple[str, ...]
    each_node: bool
    only_first_boot: bool
    start_timeout: float
    stop_timeout: float
    attempts: int
    period: float
    exclude: tuple[Any, ...]

    def goal(self, start: Any, *args: Any) -> Goal:
        """The goal, that is started by this function instead."""
        rest = {key: value for key, value in vars(self).items() if key not in ("start", "args")}
        return Goal(start=start, args=args, **rest)


@dataclass(frozen=True)
class Plan:
    """All of it. The first node is that of main and of Init."""

    name: str
    exclude: tuple[Any, ...]
    strategy: str
    intensity: int
    period: float
    nodes: tuple[NodePlan, ...]
    children: tuple[ChildPlan, ...]
    unikernels: tuple[UnikernelPlan, ...]
    goals: tuple[GoalPlan, ...]

    def full_names(self) -> list[str]:
        """Of the nodes."""
        return [f"{node.name}@{self.name}" for node in self.nodes]

    def node(self, full_name: str) -> NodePlan:
        """The plan of the node of this full name."""
        return next(node for node in self.nodes if f"{node.name}@{self.name}" == full_name)

    def runs_on(self, each: ChildPlan | UnikernelPlan) -> str:
        """The name of its node."""
        return self.nodes[0].name if each.node is None else each.node

    def as_json(self) -> dict[str, Any]:
        """As it is in a bundle."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Plan:
        """What `as_json` gave. Raises: TypeError, KeyError: it is not that."""
        parts: dict[str, type[Any]] = {"nodes": NodePlan, "children": ChildPlan, "unikernels": UnikernelPlan, "goals": GoalPlan}
        lists: dict[str, Any] = {key: tuple(made(kind, each) for each in value[key]) for key, kind in parts.items()}
        return made(cls, {**value, **lists})


T = TypeVar("T")


def made(kind: type[T], value: dict[str, Any]) -> T:
    """A part of a plan of its values. Arrays become tuples: so are arguments, and exclusions."""
    return kind(**{key: _frozen(each) for key, each in value.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    return value
