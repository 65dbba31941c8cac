"""Child specs: how a supervisor starts, restarts and stops one child. Plain values that can be sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import field
from typing import Any, Literal

from beamlike.hot.ids import Pid
from beamlike.hot.process import INFINITY
from beamlike.hot.values import copy_value
from beamlike.processes import check_options, spawn_link
from beamlike.records import record

Restart = Literal["permanent", "transient", "temporary"]
Shutdown = Literal["default", "brutal_kill", "infinity"] | float
Kind = Literal["worker", "supervisor"]

DEFAULT: Literal["default"] = "default"  # of `shutdown`: WORKER_SHUTDOWN for a worker, infinity for a supervisor (S5)
WORKER_SHUTDOWN = 5.0  # seconds, as OTP

RESTARTS = ("permanent", "transient", "temporary")
KINDS = ("worker", "supervisor")


async def start_process(fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any) -> Pid:
    """The `start` of a child that is a plain async function: it is started once it is spawned. Options as `spawn`."""
    return spawn_link(fn, *args, **options)


@record
class ChildSpec:
    """One child of a supervisor.

    The one rule for `start`: an async function that starts the child, *linked* to the process that calls it (the supervisor), and
    returns its Pid when the child is ready, or IGNORE; what it raises is why the child did not start. `GenServer.start_link` and
    `Supervisor.start_link` are such functions. `ChildSpec.of` makes a spec from a behaviour's class, or from a plain async function
    that is to *be* the child.

    Args:
        id: names the child among its siblings: a hashable value that can be sent.
        start, args, options: the child is started by `await start(*args, **options)`.
        restart: `permanent`: whatever it ended with; `transient`: not after a quiet reason; `temporary`: never (S4).
        shutdown: how it is stopped: `brutal_kill`; seconds it has after the exit signal `shutdown`, then `kill`; `infinity` (S5).
        type: a `supervisor` has for ever to stop its own children.
        significant: its own end may end the supervisor, see `auto_shutdown` (S8).
        exclude: capability exclusions, added to the supervisor's for this child, at each restart too (C2).
        node: where it is placed; for a supervisor that places its children.

    Raises: TypeError or ValueError that names the field.
    """

    id: Any
    start: Callable[..., Coroutine[Any, Any, Any]]
    args: tuple[Any, ...] = ()
    restart: Restart = "permanent"
    shutdown: Shutdown = DEFAULT
    type: Kind = "worker"
    significant: bool = False
    exclude: tuple[Any, ...] = ()
    node: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()

    @classmethod
    def of(
        cls,
        what: Any,
        *args: Any,
        id: Any = None,
        restart: Restart = "permanent",
        shutdown: Shutdown = DEFAULT,
        significant: bool = False,
        exclude: Iterable[Any] = (),
        node: str | None = None,
        **options: Any,
    ) -> ChildSpec:
        """A spec for a behaviour's class (`ChildSpec.of(Counter, 0, name="counter")`) or for a plain async function.

        The id is the class's or function's qualified name unless given. `options` go to the start: `name=`, and what `start_link` or
        `spawn` take.

        Raises: TypeError if `what` is neither, or its start takes no such option.
        """
        kind: Kind = getattr(what, "child_type", "worker")
        start, more = _starter(what)
        if options:
            _check_options(what, start, options)
        return cls(
            what.__qualname__ if id is None else id,
            start,
            (*more, *args),
            restart,
            shutdown,
            kind,
            significant,
            tuple(exclude),
            node,
            options,
        )

    @property
    def grace(self) -> float:
        """Seconds between `shutdown` and `kill`: 0 for `brutal_kill`, INFINITY."""
        if self.shutdown == DEFAULT:
            return WORKER_SHUTDOWN if self.type == "worker" else INFINITY
        if self.shutdown == "brutal_kill":
            return 0.0
        return INFINITY if self.shutdown == "infinity" else float(self.shutdown)

    def check(self) -> None:
        """Check every field. A receiver does it once more: records arrive without being checked."""
        self._expect("id", self.id is not None and _is_id(self.id), "a hashable value that can be sent and is not None")
        self._expect("start", inspect.iscoroutinefunction(self.start), "an async function that starts the child and returns its Pid")
        self._expect("args", type(self.args) is tuple, "a tuple")
        self._expect("restart", self.restart in RESTARTS, "'permanent', 'transient' or 'temporary'")
        self._expect("shutdown", _is_shutdown(self.shutdown), "'brutal_kill', 'infinity', seconds >= 0 or DEFAULT")
        self._expect("type", self.type in KINDS, "'worker' or 'supervisor'")
        self._expect("significant", type(self.significant) is bool, "True or False")
        self._expect("exclude", type(self.exclude) is tuple, "a tuple of exclusions")
        self._expect("node", self.node is None or type(self.node) is str, "None or the name of a node")
        self._expect("options", type(self.options) is dict, "a dict of keyword arguments for start")
        if self.significant and self.restart == "permanent":
            raise ValueError(f"child {self.id!r}: significant is for transient and temporary children; a permanent one is always restarted")

    def _expect(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise _wrong(f"child {self.id!r}: {name}", getattr(self, name), expected)


def _wrong(what: str, given: Any, expected: str) -> Exception:
    kind = ValueError if isinstance(given, (str, int, float)) else TypeError
    return kind(f"{what} is {given!r}, expected {expected}")


def _is_id(value: Any) -> bool:
    try:
        hash(copy_value(value))
    except TypeError:
        return False
    return True


def _is_shutdown(value: Any) -> bool:
    if isinstance(value, str):
        return value in (DEFAULT, "brutal_kill", "infinity")
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _starter(what: Any) -> tuple[Callable[..., Coroutine[Any, Any, Any]], tuple[Any, ...]]:
    """What starts it, and the first arguments of that."""
    if isinstance(what, type) and inspect.iscoroutinefunction(getattr(what, "start_link", None)):
        return what.start_link, ()  # type: ignore[attr-defined]
    if not isinstance(what, type) and inspect.iscoroutinefunction(what):
        if getattr(what, "__name__", "") == "start_link":
            raise TypeError(f"ChildSpec.of: {what!r} starts a child, it is none: give its class")
        return start_process, (what,)
    raise TypeError(f"ChildSpec.of expects a class with start_link or an async function, not {what!r}")


def _check_options(what: Any, start: Callable[..., Any], options: dict[str, Any]) -> None:
    """TypeError for an option that the start does not take."""
    if start is start_process:
        check_options("ChildSpec.of", options)
        return
    signature = inspect.signature(start)
    try:
        signature.bind_partial(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise TypeError(f"ChildSpec.of: {what.__qualname__}.start_link {error}; its arguments are: {known}") from None


def spec_of(child: Any) -> ChildSpec:
    """A ChildSpec as it is, checked; a class with `start_link`, or an async function, as `ChildSpec.of` without arguments."""
    if type(child) is ChildSpec:
        child.check()
        return child
    if isinstance(child, type) or inspect.iscoroutinefunction(child):
        return ChildSpec.of(child)
    raise TypeError(f"a child is a ChildSpec, a class with start_link or an async function, not {child!r}")
