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
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import caps
from beamlike import clock, privileged, reports, signals
from beamlike.behaviours import stopping
from beamlike.behaviours.asking import HELD, RESTARTING, RUNNING, STOPPED, ChildError, ChildInfo, ChildStartError, Status
from beamlike.behaviours.child import ChildSpec, start_process
from beamlike.behaviours.gen_server import GenServer
from beamlike.behaviours.options import Options
from beamlike.behaviours.restarts import RestartWindow, is_restarted
from beamlike.behaviours.starting import IGNORE, Failed
from beamlike.behaviours.system import sendable
from beamlike.exclusions import Under, caller_layers
from beamlike.exits import Exit, ExitError, Stop, error_text, is_quiet, reason_of
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import Caller, Cast, joined
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.timers import Timer
from beamlike.processes import process_flag
from beamlike.records import record
from beamlike.tightening import descends, note_tightened, tightened

START_PATIENCE = 5.0  # seconds that a start function may take before it is reported


@record
class Retry:
    """A supervisor's message to itself: go on with the restart of a child, if it still waits for this."""

    key: Any
    ref: Ref
    step: Literal["restart", "start"]


class Child:
    """One child, as its supervisor keeps it."""

    __slots__ = ("asked_by", "attempts", "key", "layers", "pid", "reason", "retry", "since", "spec", "status")

    def __init__(self, key: Any, spec: ChildSpec, layers: caps.Layers) -> None:
        self.key = key
        self.spec = spec
        self.asked_by = layers  # the exclusions of who asked for it: it gets them at each restart, besides the supervisor's and its spec's
        self.layers: caps.Layers = ()  # what it was forbidden since; so it is at each restart (C2, C8)
        self.pid: Pid | None = None
        self.status: Status = STOPPED
        self.retry: Ref | None = None  # of the `Retry` that its restart waits for
        self.reason: Any = None  # why it does not run
        self.attempts = 0  # restarts in a row
        self.since = 0.0  # when it was started, or ended

    def info(self) -> ChildInfo:
        """What others are told of it."""
        return ChildInfo(sendable(self.spec.id), self.pid, self.status, self.spec.type, self.spec.restart)

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
        note_tightened(me)
        self.options = options
        self.window = RestartWindow(options.intensity, options.period)
        for spec in specs:
            try:
                await self.add(spec)
            except ChildStartError as error:
                await self.stop_children()
                raise Failed(error, ("failed_to_start_child", error.id, error.reason)) from None

    # --- messages ---

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """Answer `ask`. Nothing that can be asked ends a supervisor: what goes wrong, and what cannot be sent, is told to who asked."""
        try:
            return sendable(("ok", await self.answer(request, caller)))
        except ChildStartError as error:
            return sendable(("start_error", error.id, error.reason))
        except ChildError as error:
            return sendable(("error", str(error), error.reason))
        except Exception as error:  # noqa: BLE001 - code of what was asked: the `==`, `hash` or `repr` of an id or a spec
            return "error", f"{type(error).__qualname__}: {error_text(error)}", "bad_request"

    async def handle_cast(self, request: Any) -> None:
        """Nothing is asked by casts: it is logged."""
        await super().handle_info(Cast(request))

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
            case ("start_child", ChildSpec() as spec):
                try:
                    spec.check()
                    self.options.check_child(spec)
                except (TypeError, ValueError) as error:
                    raise ChildError(str(error), "bad_spec") from error
                return await self.add(spec, caller_layers())
        raise ChildError(f"a supervisor does not know the request {reports.shown(request)}", "unknown_request")

    async def handle_info(self, message: Any) -> None:
        """The end of a child, or a restart that was put off."""
        match message:
            case Exit(Pid() as pid, reason) if pid in self.running:
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

    async def add(self, spec: ChildSpec, layers: caps.Layers = ()) -> Pid:
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
        watch = self.watch_start(child)
        try:
            # The start runs under the exclusions of who asked for the child, and whatever it spawns has the child's as well.
            with Under(me, child.asked_by, caps.extend(child.layers, spec.exclude)):
                pid = await spec.start(*spec.args, **spec.options)
        except (Exception, SystemExit) as error:
            raise ChildStartError(spec.id, error.reason if isinstance(error, ExitError) else reason_of(error)) from error
        finally:
            if watch is not None and watch.when > scheduler.now():
                scheduler.drop_timer(watch)
        if pid is IGNORE:
            child.status = STOPPED
            return
        if type(pid) is not Pid:
            raise ChildStartError(spec.id, ("bad_start", f"{reports.shown(pid)} was returned, expected a Pid or IGNORE"))
        if pid.process is None or not descends(pid.process, me.pid):
            self.adopt(child, pid)
        child.pid, child.status, child.since = pid, RUNNING, scheduler.now()
        self.running[pid] = child
        signals.link_own(me, pid)  # most are already; one that is not, and has ended, answers `noproc`
        reports.progress(me.pid, me.name, child.report())

    def adopt(self, child: Child, pid: Pid) -> None:
        """It was not spawned from here: to link to it, and to end it later, is no right of its supervisor's. Raises: ChildStartError."""
        try:
            privileged.permit_target(scheduler.current_process(), "exit", pid)
        except caps.CapabilityError as error:
            raise ChildStartError(child.spec.id, reason_of(error)) from error

    def watch_start(self, child: Child) -> Timer | None:
        """Let it be reported if the child's own start function does not return: it may be the child itself, given by mistake."""
        if child.spec.start is start_process or getattr(child.spec.start, "__name__", "") == "start_link":
            return None
        reason = f"its start is to return the child's pid, and has not in {START_PATIENCE} s; a loop is made a child by ChildSpec.of(loop)"
        me = scheduler.current_process()
        told = partial(reports.supervisor, me.pid, me.name, "slow_start", reason, child.report())
        watch = Timer(None, None, told, 0.0, None)
        scheduler.push_timer(watch, scheduler.now() + START_PATIENCE)
        return watch

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
        """It runs no longer. What it was forbidden meanwhile, it is when it is started again."""
        if child.pid is not None:
            child.layers = joined(child.layers, tightened(scheduler.current_process(), child.pid))
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
