"""Processes: spawning them, asking about them, setting their flags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from types import FrameType
from typing import Any

import caps
from beamlike import exclusions, names, preemption, privileged, routing, signals, trio_mode
from beamlike import limits as bounds
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.mailboxes import mailbox_length, mailbox_messages
from beamlike.hot.process import IN_TRIO, STATUS, Process
from beamlike.hot.values import copy_value, size_of
from beamlike.limits import Limits, Mailbox
from beamlike.records import record

MOST_SIZED = 1000  # waiting messages whose size is added up for `memory`

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


OPTIONS = ("name", "exclude", "limits", "io", "mailbox")  # of every way to spawn


def check_options(what: str, options: dict[str, Any]) -> None:
    """TypeError for an option that there is not."""
    for option in options:
        if option not in OPTIONS:
            raise TypeError(f"{what} has no option {option!r}; there are {', '.join(OPTIONS)}")


def start(
    fn: AsyncFunction,
    args: tuple[Any, ...],
    *,
    parent: Process | None,
    name: str | None = None,
    exclude: Iterable[Any] = (),
    limits: Limits | None = None,
    io: bool = False,
    mailbox: Mailbox | None = None,
    runs: str | None = None,
) -> Process:
    """A new process of this node, in the run queue. Everything that can be wrong with the arguments raises before it exists.

    `parent`: whose exclusions are asked, and inherited. `runs`: the name by which they know what it runs, if that is not `fn`'s; `""`: it
    is the runtime's own, which they are not asked about.
    """
    if type(io) is not bool:
        raise TypeError(f"spawn: io is True or False, not {io!r}")
    layers: caps.Layers = () if parent is None else exclusions.inherited_from(parent)
    if parent is not None and layers:
        if runs != "":
            privileged.permit_spawn(parent, runs or fn)
        if name is not None:
            names.permit_name(parent, exclusions.layers_of(parent), names.check_name(name))
    if name is not None:
        names.check_free(name)
    if exclude != ():
        layers = caps.extend(layers, exclude)
    process = scheduler.new_process(scheduler.start_coroutine(fn, args), layers, parent)
    if limits is not None or mailbox is not None or (parent is not None and parent.bounds is not None):
        try:
            bounds.bind(process, parent, limits, mailbox)
        except TypeError:
            process.coro.close()
            scheduler.bury(process)
            raise
    if name is not None:
        names.give(name, process)
    if io:
        trio_mode.enter(process)
    else:
        scheduler.enqueue(process)
    return process


def spawn_link(fn: AsyncFunction, *args: Any, **options: Any) -> Pid:
    """`spawn` and `link` in one step: the child cannot die unseen (E18). Options as `spawn`."""
    me = scheduler.caller("spawn_link")
    check_options("spawn_link", options)
    child = start(fn, args, parent=me, **options)
    signals.join(me, child)
    return child.pid


def spawn_monitor(fn: AsyncFunction, *args: Any, **options: Any) -> tuple[Pid, Ref]:
    """`spawn` and `monitor` in one step (E18). Options as `spawn`."""
    me = scheduler.caller("spawn_monitor")
    check_options("spawn_monitor", options)
    child = start(fn, args, parent=me, **options)
    return child.pid, signals.monitor(child.pid)


async def spawn_at(node: Any, fn: AsyncFunction, *args: Any, **options: Any) -> Pid:
    """`spawn` on the node of that name, which may be this one, or on `"any"` or `"least_loaded"`. Options as `spawn`.

    Raises: as `spawn`, also what starting raised there (WireError: that node has no such function); `nodes.SpawnError`, a RuntimeError, if
    there is no such node or it was lost; TypeError for a function that cannot be imported by its name.
    """
    me = scheduler.caller("spawn_at")
    check_options("spawn_at", options)
    if node == me.pid.node:
        privileged.permit(me, "node", node)
        return start(fn, args, parent=me, **options).pid
    return await routing.router.spawn(me, node, fn, args, options)


def adopt() -> Process:
    """A record for the trio task that calls: the process of `async with node():`."""
    process = scheduler.new_process(_nothing(), (), None)
    process.coro.close()
    process.state = IN_TRIO
    extra(process).is_main = True
    return process


async def _nothing() -> None:
    """An adopted process has no coroutine of ours."""


def is_supervisor(process: Process) -> bool:
    """Does it say so of itself?"""
    return process.extra is not None and process.extra.is_supervisor


def process_flag(flag: str, value: Any) -> Any:
    """Set a flag of the calling process and return the old value.

    `trap_exit` (bool): exit signals become `Exit` messages. `label` (any value): shown in reports and `process_info`.

    Raises: ValueError for another flag, TypeError for a wrong value.
    """
    process = scheduler.caller("process_flag")
    if flag == "trap_exit":
        if type(value) is not bool:
            raise TypeError(f"process_flag: trap_exit is True or False, not {value!r}")
        old, process.trap_exit = process.trap_exit, value
        return old
    if flag == "label":
        more = extra(process)
        old, more.label = more.label, copy_value(value)
        return old
    raise ValueError(f"process_flag: no flag {flag!r}: there are 'trap_exit' and 'label'")


def process_info(pid: Pid) -> ProcessInfo | None:
    """What is known of a process of this node, busy or not; None if it is not alive (P2).

    Raises: TypeError if `pid` is no Pid; ValueError for a pid of another node: `await process_info_at(pid)` asks there; CapabilityError.
    """
    process = names.local(pid, "process_info")
    privileged.check_target("process_info", pid, "process_info")
    if process is None:
        if scheduler.current_node() not in (None, pid.origin):
            raise ValueError(f"process_info: {pid} belongs to another node: await process_info_at(pid)")
        return None
    return describe(process)


async def process_info_at(pid: Pid) -> ProcessInfo | None:
    """`process_info`, also of a process of another node; None if it is not alive."""
    if names.local(pid, "process_info_at") is not None or pid.origin == scheduler.current_node():
        return process_info(pid)
    privileged.check_target("process_info", pid, "process_info_at")
    return await routing.router.process_info(pid)  # type: ignore[no-any-return]


@record
class ProcessInfo:
    """See `process_info`. `memory` is an estimate in bytes: record, coroutine frames, waiting messages."""

    pid: Pid
    status: str
    mailbox_length: int
    links: tuple[Pid, ...]
    monitors: tuple[Any, ...]
    monitored_by: tuple[Pid, ...]
    registered_name: str | None
    label: Any
    ancestors: tuple[Pid, ...]
    callers: tuple[Pid, ...]
    initial_call: str
    current_function: str | None
    current_line: int | None
    reductions: int
    memory: int
    trap_exit: bool
    exclusions: tuple[Any, ...]


def describe(process: Process) -> ProcessInfo:
    """The ProcessInfo of a live process of this node."""
    if process is scheduler.stepped():
        frames = _frames_down_to_root(process, sys._getframe(1))
    elif getattr(process.greenlet, "gr_frame", None) is not None:  # pre-empted
        frames = _frames_down_to_root(process, process.greenlet.gr_frame)
    else:
        frames = coroutine_frames(process.coro)
    own = [frame for frame in frames if preemption.may_be_left(frame.f_code.co_filename)]  # not ours, nor of a library
    innermost = own[-1] if own else frames[-1] if frames else None
    more = process.extra
    return ProcessInfo(
        pid=process.pid,
        status="running" if process is scheduler.stepped() else STATUS[process.state],
        mailbox_length=mailbox_length(process),
        links=tuple(process.links or ()),
        monitors=tuple(signals.shown(target) for target in (process.monitors or {}).values()),
        monitored_by=tuple((process.monitored_by or {}).values()),
        registered_name=process.name,
        label=None if more is None else more.label,
        ancestors=process.ancestors,
        callers=() if more is None else more.callers,
        initial_call=initial_call(process),
        current_function=None if innermost is None else innermost.f_code.co_qualname,
        current_line=None if innermost is None else innermost.f_lineno,
        reductions=process.reductions,
        memory=_memory(process, frames),
        trap_exit=process.trap_exit,
        exclusions=tuple(layer.terms for layer in process.layers),
    )


def initial_call(process: Process, frame: FrameType | None = None) -> str:
    """`module:qualname` of what the process was started with. `frame`: its first one, if it has ended."""
    if process.extra is not None and process.extra.initial_call is not None:
        return str(process.extra.initial_call)
    frame = getattr(process.coro, "cr_frame", None) or frame
    module = "" if frame is None else f"{frame.f_globals.get('__name__', '?')}:"
    return module + str(getattr(process.coro, "__qualname__", "?"))


def _frames_down_to_root(process: Process, frame: FrameType | None) -> list[FrameType]:
    """The frames of a process in the middle of a step, outermost first; none of the runtime's own at the inner end."""
    root = getattr(process.coro, "cr_frame", None)
    frames: list[FrameType] = []
    while frame is not None:
        if frames or preemption.may_be_left(frame.f_code.co_filename):
            frames.insert(0, frame)
        if frame is root:
            break
        frame = frame.f_back
    return frames


def coroutine_frames(coro: Any) -> list[FrameType]:
    """The Python frames of a suspended coroutine, outermost first."""
    frames: list[FrameType] = []
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)
    return frames


def _memory(process: Process, frames: list[FrameType]) -> int:
    waiting = mailbox_messages(process, MOST_SIZED)
    return (
        sys.getsizeof(process)
        + sys.getsizeof(process.pid)
        + sum(sys.getsizeof(frame) for frame in frames)
        + sum(size_of(message) for message in waiting)
    )


def processes() -> list[Pid]:
    """All processes alive on this node, oldest first."""
    return [process.pid for process in scheduler.all_processes()]
