"""The process behind Supervisor and DynamicSupervisor: starts children, restarts them, stops them, answers questions about them.

Theory of operation. A child is RUNNING with a pid, or it is STOPPED (it ended and is not restarted, it was terminated, it declined),
RESTARTING (its restart failed or waits for its back-off) or HELD. Its end arrives as `Exit`, for the supervisor is linked to it and
traps exits. Then the table `restarts.RESTARTED` and the restart window decide; the *group* of a child is who is restarted with it, by
the strategy. A restart that fails is tried again by a message of the supervisor to itself, so that other messages have their turn
between the tries; each try counts (OTP).

As in OTP a supervisor does one thing at a time: while it starts or stops a child it answers nobody.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import caps
from beamlike import clock, reports, signals
from beamlike.behaviours import stopping
from beamlike.behaviours.child import ChildSpec
from beamlike.behaviours.gen_server import GenServer
from beamlike.behaviours.restarts import Backoff, RestartWindow, is_restarted
from beamlike.behaviours.starting import IGNORE, Ignored
from beamlike.exits import Exit, ExitError, Stop, format_reason, is_quiet, reason_of
from beamlike.hot import scheduler
from beamlike.hot.calls import Caller, call
from beamlike.hot.ids import Pid, Ref
from beamlike.processes import extra, process_flag
from beamlike.records import record

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Status = Literal["running", "stopped", "restarting", "held"]

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")
RUNNING: Status = "running"
STOPPED: Status = "stopped"
RESTARTING: Status = "restarting"
HELD: Status = "held"


class ChildError(RuntimeError):
    """A supervisor refused what it was asked for.

    `reason`: `not_found`, `already_present`, `("already_started", pid)`, `running`, `restarting`, `max_children`, `unknown_request`, or
    `bad_spec`.
    """

    def __init__(self, text: str, reason: Any) -> None:
        super().__init__(text)
        self.reason = reason


class ChildStartError(ChildError):
    """A child did not start. `id` is the child's, `reason` what its start ended with, as an exit reason; the text has both."""

    def __init__(self, id: Any, reason: Any) -> None:
        super().__init__(f"child {id!r} did not start: {format_reason(reason)}", reason)
        self.id = id


@record
class ChildInfo:
    """What `which_children` tells of one child. `pid` is None unless `status` is `running`; else that is `stopped`, `restarting` or
    `held`."""

    id: Any
    pid: Pid | None
    status: Status
    type: str
    restart: str


@record
class Retry:
    """A supervisor's message to itself: go on with the restart of a child, if it still waits for this."""

    key: Any
    ref: Ref
    step: Literal["restart", "start"]


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


class Child:
    """One child, as its supervisor keeps it."""

    __slots__ = ("attempts", "key", "layers", "pid", "reason", "retry", "since", "spec", "status")

    def __init__(self, key: Any, spec: ChildSpec, layers: caps.Layers) -> None:
        self.key = key
        self.spec = spec
        self.layers = layers  # of who asked for it: it gets them at each restart, besides the supervisor's and its spec's (C2, C8)
        self.pid: Pid | None = None
        self.status: Status = STOPPED
        self.retry: Ref | None = None  # of the `Retry` that its restart waits for
        self.reason: Any = None  # why it does not run
        self.attempts = 0  # restarts in a row
        self.since = 0.0  # when it was started, or ended

    def info(self) -> ChildInfo:
        """What others are told of it."""
        return ChildInfo(self.spec.id, self.pid, self.status, self.spec.type, self.spec.restart)

    def report(self) -> dict[str, Any]:
        """What reports tell of it."""
        spec = self.spec
        return {"id": spec.id, "pid": self.pid, "restart": spec.restart, "shutdown": spec.shutdown, "type": spec.type}


class Supervising(GenServer):
    """A supervisor of children that are kept under a key, in the order in which they were given."""

    def __init__(self) -> None:
        self.options = Options()
        self.window = RestartWindow(self.options.intensity, self.options.period)
        self.children: dict[Any, Child] = {}
        self.running: dict[Pid, Child] = {}

    async def init(self, options: Options, specs: Sequence[ChildSpec] = ()) -> None:
        """Start the children in order; when one fails, stop those before it (S6)."""
        me = scheduler.current_process()
        process_flag("trap_exit", True)
        extra(me).is_supervisor = True
        self.options = options
        self.window = RestartWindow(options.intensity, options.period)
        for spec in specs:
            try:
                await self.add(spec)
            except ChildStartError:
                await self.stop_children()
                raise

    # --- messages ---

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """Answer `ask`."""
        try:
            return "ok", await self.answer(request, caller)
        except ChildStartError as error:
            return "start_error", error.id, error.reason
        except ChildError as error:
            return "error", str(error), error.reason

    async def answer(self, request: Any, caller: Caller) -> Any:
        """What a request is answered. Raises: ChildError."""
        match request:
            case ("which_children",):
                return [child.info() for child in self.children.values()]
            case ("count_children",):
                return self.count()
            case ("clear_hold",):
                await self.clear_hold()
                return None
            case ("start_child", ChildSpec() as spec, tuple() as terms):
                try:
                    spec.check()
                    self.options.check_child(spec)
                    layers = layers_of(caller.pid, terms)
                except (TypeError, ValueError) as error:
                    raise ChildError(str(error), "bad_spec") from error
                return await self.add(spec, layers)
        raise ChildError(f"a supervisor does not know the request {reports.shown(request)}", "unknown_request")

    async def handle_info(self, message: Any) -> None:
        """The end of a child, or a restart that was put off."""
        match message:
            case Exit(pid, reason) if pid in self.running:
                await self.child_ended(self.running[pid], reason)
            case Retry(key, ref, step):
                child = self.children.get(key)
                if child is not None and child.retry == ref:
                    await (self.restart(child) if step == "restart" else self.start_group(child))

    async def terminate(self, reason: Any) -> None:
        """Stop all children, the last one first (S7)."""
        await self.stop_children()

    # --- starting ---

    def key_of(self, spec: ChildSpec) -> Any:
        """Under what a new child is kept. Raises: ChildError if it cannot be."""
        raise NotImplementedError

    async def add(self, spec: ChildSpec, layers: caps.Layers = ()) -> Pid | Ignored:
        """Start a new child. Raises: ChildError; then it is not kept."""
        child = Child(self.key_of(spec), spec, layers)
        self.children[child.key] = child
        try:
            await self.start_one(child)
        except ChildStartError as error:
            self.report("start_error", error.reason, child)
            del self.children[child.key]
            raise
        if child.pid is not None:
            return child.pid
        self.leave(child)
        return IGNORE

    async def start_one(self, child: Child) -> None:
        """Start a child that is not running. Raises: ChildStartError."""
        spec, me = child.spec, scheduler.current_process()
        child.retry = None
        own = me.layers
        try:
            # The start runs under the child's exclusions, so whatever it spawns has them; nobody else runs as this process meanwhile.
            me.layers = caps.extend(joined(own, child.layers), spec.exclude)
            pid = await spec.start(*spec.args, **spec.options)
        except Exception as error:
            raise ChildStartError(spec.id, error.reason if isinstance(error, ExitError) else reason_of(error)) from error
        finally:
            me.layers = own
        if pid is IGNORE:
            child.status = STOPPED
            return
        if type(pid) is not Pid:
            raise ChildStartError(spec.id, ("bad_start", f"{reports.shown(pid)} was returned, expected a Pid or IGNORE"))
        child.pid, child.status, child.since = pid, RUNNING, scheduler.now()
        self.running[pid] = child
        signals.link(pid)  # most are already; one that is not, and has ended, answers `noproc`
        reports.progress(me.pid, me.name, child.report())

    # --- restarting ---

    async def child_ended(self, child: Child, reason: Any) -> None:
        """A child ended by itself."""
        self.report("child_terminated", reason, child)
        self.forget(child)
        child.reason = reason
        if is_restarted(child.spec.restart, reason):
            await self.restart(child)
        else:
            self.leave(child)
            self.shut_down_after(child)

    async def restart(self, child: Child) -> None:
        """Restart a child and its group, now or later, unless that is once too often (S2)."""
        now = scheduler.now()
        is_admitted = self.window.admits(now)
        if not is_admitted:
            self.report("intensity", child.reason, child)
            if not self.options.hold:
                raise Stop("shutdown")
        for each in reversed(self.group(child)):
            if each is not child and each.status != HELD:
                await self.stop(each)
        if not is_admitted:
            child.status = HELD
            return
        child.status = RESTARTING
        backoff = self.options.backoff
        if backoff is None:
            await self.start_group(child)
            return
        child.attempts = 1 if now - child.since >= self.options.period else child.attempts + 1
        chance = (scheduler.hooks_or_error().rng or random).random()  # a deterministic node's own source
        clock.send_after(backoff.delay(child.attempts, chance), scheduler.self_pid(), self.retry(child, "start"))

    async def start_group(self, child: Child) -> None:
        """Start whoever is not running in the group of a child, up to one that is held.

        One that fails is tried again, after what else waits for the supervisor.
        """
        for each in self.group(child):
            if each.status == HELD:
                return
            if each.pid is None:
                try:
                    await self.start_one(each)
                except ChildStartError as error:
                    self.report("start_error", error.reason, each)
                    each.reason, each.status, each.since = error.reason, RESTARTING, scheduler.now()
                    scheduler.send(scheduler.self_pid(), self.retry(each, "restart"))
                    return
                if each.pid is None:
                    self.leave(each)

    def retry(self, child: Child, step: Literal["restart", "start"]) -> Retry:
        """The message that takes this step, unless something else happens to the child before."""
        child.retry = scheduler.make_ref()
        return Retry(child.key, child.retry, step)

    def group(self, child: Child) -> list[Child]:
        """Who is restarted with it, in the order of their start, itself among them (S1)."""
        if self.options.strategy == "one_for_one":
            return [child]
        children = list(self.children.values())
        return children if self.options.strategy == "one_for_all" else children[children.index(child) :]

    def shut_down_after(self, child: Child) -> None:
        """End the supervisor if the end of this child asks for that (S8)."""
        if not child.spec.significant:
            return
        others = any(each.spec.significant and each.status != STOPPED for each in self.children.values())
        if self.options.auto_shutdown == "any_significant" or not others:
            raise Stop("shutdown")

    async def clear_hold(self) -> None:
        """Restart what is held, with an empty window."""
        self.window.clear()
        held = [child for child in self.children.values() if child.status == HELD]
        for child in held:
            child.status = RESTARTING
        for child in held:
            await self.start_group(child)

    # --- stopping ---

    async def stop(self, child: Child) -> None:
        """Stop a child, if it runs, and keep its spec, unless it is temporary (S5)."""
        child.retry = None
        if child.pid is not None:
            self.stopped(child, await stopping.stop(child.pid, child.spec.grace))
        self.leave(child)

    def stopped(self, child: Child, reason: Any) -> None:
        """It ended with this reason when it was told to."""
        if not (is_quiet(reason) or (child.spec.shutdown == "brutal_kill" and reason == "killed")):
            self.report("shutdown_error", reason, child)
        self.forget(child)

    async def stop_children(self) -> None:
        """Stop them one after the other, the last one first."""
        for child in reversed(list(self.children.values())):
            await self.stop(child)

    def forget(self, child: Child) -> None:
        """It runs no longer."""
        if child.pid is not None:
            del self.running[child.pid]
            child.pid = None

    def leave(self, child: Child) -> None:
        """A child that does not run stays so: the spec is kept, unless it is temporary."""
        child.status = STOPPED
        if child.spec.restart == "temporary":
            del self.children[child.key]

    # --- telling ---

    def count(self) -> dict[str, int]:
        """See `count_children`."""
        kinds = [child.spec.type for child in self.children.values()]
        supervisors = kinds.count("supervisor")
        return {"specs": len(kinds), "active": len(self.running), "supervisors": supervisors, "workers": len(kinds) - supervisors}

    def report(self, error: str, reason: Any, child: Child) -> None:
        """To the log `beamlike.supervisor`."""
        me = scheduler.current_process()
        reports.supervisor(me.pid, me.name, error, reason, child.report())


def joined(layers: caps.Layers, more: caps.Layers) -> caps.Layers:
    """Both, none twice."""
    return layers if not more else (*layers, *(layer for layer in more if layer not in layers))


def layers_of(caller: Pid, terms: Iterable[Any]) -> caps.Layers:
    """The layers of who asks: of a process here what its record says, of another node's what the request says."""
    if caller.process is not None:
        return caller.process.layers  # type: ignore[no-any-return]
    layers: caps.Layers = ()
    for each in terms:
        layers = caps.extend(layers, each)
    return layers


async def ask(supervisor: Any, *request: Any) -> Any:
    """Ask a supervisor, for as long as it takes. Raises: ChildError, ChildStartError; CallError if the supervisor is not there or ends."""
    match await call(supervisor, request, timeout=None):
        case ("ok", value):
            return value
        case ("start_error", id_, reason):
            raise ChildStartError(id_, reason)
        case ("error", text, reason):
            raise ChildError(text, reason)
        case other:
            raise TypeError(f"{supervisor!r} is no supervisor: it answered {other!r}")


async def ask_to_start(supervisor: Any, spec: ChildSpec) -> Pid | Ignored:
    """Ask a supervisor for a child, which gets the exclusions of the caller as well."""
    layers = scheduler.current_process().layers
    return await ask(supervisor, "start_child", spec, tuple(layer.terms for layer in layers))  # type: ignore[no-any-return]
