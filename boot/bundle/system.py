"""What runs in the nodes of a system that was booted: main, with Init below it; on each node its tree."""

from __future__ import annotations

import inspect
import time
from typing import Any

import caps
from beamlike import (
    BadNameError,
    Call,
    Cast,
    ChildSpec,
    Exit,
    Pid,
    Stop,
    Supervisor,
    cast,
    exit,
    process_flag,
    receive,
    register,
    reply,
    self_pid,
    tighten,
)
from boot.bundle.mounted import mounted, report
from boot.bundle.plan import TREE, UP, ChildPlan, Plan, UnikernelPlan
from boot.goals import Goal, State
from boot.init import Init
from boot.init import status as status_of_goals
from nodes import register_global, whereis_global
from nodes.seam import named

NAME = "beamlike.system"  # of main, on its node and global
STARTING = 30.0  # seconds, for each that a tree starts
STOPPING = 5.0  # seconds, for each that says nothing else
LONG = 3600.0  # seconds, for what has for ever
MOST_STATUS = 255


async def serve(began: float, store: str | None) -> int:
    """Main: until `halt`, whose status it returns. `began`: when the boot did, by the monotonic clock."""
    report("main", f"main begins on {self_pid().node}")
    process_flag("trap_exit", True)
    process_flag("label", "system")
    register(NAME)
    await register_global(NAME)
    plan = mounted().plan
    own = [each.goal(start_goal, each.start, *each.args) for each in plan.goals]
    goals = [tree_goal(plan), *own]
    last = Goal(UP, come_up, (began,), wants=tuple(goal.name for goal in goals))
    init = await Init.start_link([*goals, last], store=store, exclude=plan.exclude)
    code: int | None = None
    while True:
        message = await receive()
        match message:
            case Cast(("halt", int(status))) | Call(_, ("halt", int(status))) if caps.permits(message.layers, "system", "halt"):
                if type(message) is Call:  # from outside
                    reply(message.caller, ("ok", None))
                if code is None:  # the first one counts
                    code = status & MOST_STATUS
                    report("halt", f"halting with status {code}", status=code)
                    exit(init, "shutdown")
            case Exit(sender, reason) if sender == init:
                if reason == "shutdown" and code is not None:
                    return code
                raise Stop(("init ended", reason))
            case Exit(_, reason) if reason != "normal":
                raise Stop(reason)


def halt(status: int = 0) -> None:
    """End the system that was booted: its goals are stopped in reverse order, and `beamlike boot` ends with this status, 0 to 255.

    The first status counts, if it is told several times. If the node of main is lost meanwhile, the system ends all the same.

    Raises: ValueError for another status; CapabilityError, for who is excluded from `("system", "halt")`; BadNameError: it was not booted,
        or its main is just being started again.
    """
    if type(status) is not int or not 0 <= status <= MOST_STATUS:
        raise ValueError(f"halt: status is {status!r}, expected 0 to {MOST_STATUS}")
    caps.check("system", "halt")
    main = whereis_global(NAME)
    if main is None:
        raise BadNameError("halt: this system was not booted from an image, or its main is just being started again")
    cast(main, ("halt", status))  # which says, as a message would not, under which exclusions


# --- the tree of a node ---


def tree_goal(plan: Plan) -> Goal:
    """The goal that each node has its tree. It has as long to start and to stop as all in it together."""
    most = max((starts_on(plan, node.name) for node in plan.nodes), key=len)
    return Goal(
        TREE,
        start_tree,
        each_node=True,
        start_timeout=STARTING * (1 + len(most)),
        stop_timeout=STOPPING + sum(_grace(each) for each in everything(plan)),
    )


def _grace(each: ChildPlan | UnikernelPlan) -> float:
    shutdown = each.shutdown if isinstance(each, ChildPlan) else STOPPING
    if isinstance(shutdown, int | float):
        return float(shutdown)
    return {"brutal_kill": 0.0, "infinity": LONG}.get(shutdown, STOPPING)


def starts_on(plan: Plan, node: str) -> list[ChildPlan | UnikernelPlan]:
    """What the tree of a node has: first the unikernels, so that the others find them."""
    return [each for each in everything(plan) if plan.runs_on(each) == node]


def everything(plan: Plan) -> list[ChildPlan | UnikernelPlan]:
    """What all trees have."""
    return [*plan.unikernels, *plan.children]


async def start_tree() -> Pid:
    """The supervisor of this node's children."""
    plan = mounted().plan
    node = plan.node(self_pid().node)
    specs = [_spec(each) for each in starts_on(plan, node.name)]
    return await Supervisor.start_link(
        specs,
        plan.strategy,  # type: ignore[arg-type]  # the plan has been checked
        plan.intensity,
        plan.period,
        name=TREE,
        exclude=node.exclude,
    )


def _spec(each: ChildPlan | UnikernelPlan) -> ChildSpec:
    if isinstance(each, ChildPlan):
        return ChildSpec.of(
            named(each.start),
            *each.args,
            id=each.id,
            restart=each.restart,  # type: ignore[arg-type]
            shutdown=each.shutdown,  # type: ignore[arg-type]
            exclude=each.exclude,
            **each.options,
        )
    from unikernels import Unikernel  # 0.06 s, for who has some

    options: dict[str, Any] = {"core": each.core, "memory": each.memory, "cpu": each.cpu, "heartbeat": each.heartbeat}
    image = mounted().read(each.image)
    return ChildSpec.of(
        Unikernel,
        image,
        *each.args,
        id=each.name,
        restart=each.restart,  # type: ignore[arg-type]
        exclude=each.exclude,
        name=each.name,
        **options,
    )


# --- goals ---


async def start_goal(start: str, *args: Any) -> Pid | None:
    """What a goal of the plan starts, below the exclusions of its node."""
    await tighten(self_pid(), mounted().plan.node(self_pid().node).exclude)
    found = named(start)
    if isinstance(found, type) and inspect.iscoroutinefunction(getattr(found, "start_link", None)):
        found = found.start_link  # type: ignore[attr-defined]
    if not inspect.iscoroutinefunction(found):
        raise TypeError(f"{start} is {found!r}, expected an async function, or a class with start_link")
    return await found(*args)  # type: ignore[no-any-return]


async def come_up(began: float) -> None:
    """The last step: tell how it is."""
    lacking = ""
    try:
        names = [each.name for each in await status_of_goals() if each.name != UP and each.state is not State.ONLINE]
        lacking = f", without {', '.join(names)}" if names else ""
    except caps.CapabilityError as refused:  # the plan's exclusions are this step's, too
        lacking = f"; how its goals are may not be asked: {refused}"
    report("up", f"the system is up after {time.monotonic() - began:.2f} s{lacking}", "warning" if lacking else "info")
