"""All privileged calls, and the checks of the core's own: the table `PRIVILEGED` says which exclusions each of them asks.

Theory of operation. A call is checked once, on the caller's side, in the node's thread, before it has any effect (C5, C6). What the
runtime does by itself in the course of a call is not checked again: that a name is registered by a message to a service, or a child stopped
by an exit signal of its supervisor, is nobody's access. Whoever acts for a process (its trio tasks, its `blocking` threads) is checked as
the process, and whoever has no exclusions pays one comparison.

Permitted always: what a process does to itself (to send, exit, ask for its own info); the answer to a request, `reply` and what
`handle_call` returns, for it reaches nobody but who asked; links and monitors of the own children, by `spawn_link` and `spawn_monitor`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import caps
from beamlike import exclusions, names
from beamlike.hot import scheduler
from beamlike.hot.guards import acts_as_service, is_service, known_as, refuse_service, require, require_target, services
from beamlike.hot.ids import Pid
from beamlike.hot.process import Process
from beamlike.hot.values import copy_value


class Row(NamedTuple):
    """A privileged call: its name in `beamlike`, or in `nodes` if it says so; the kind of exclusion, and the operands that are asked."""

    call: str
    kind: str
    operands: str


FUNCTION = "'module:qualname' of what is to run"
BEHAVIOUR = "'module:qualname' of the class"
TARGET = "the pid, its name here, (name, node), its node"
SUPERVISOR = "'beamlike.behaviours.supervisor:StaticSupervising'"
DYNAMIC = "'beamlike.behaviours.dynamic_supervisor:DynamicSupervising'"
NODE = "the node that is meant"
NAME = "the name"

PRIVILEGED = (
    Row("spawn", "spawn", FUNCTION),
    Row("spawn_link", "spawn", FUNCTION),
    Row("spawn_monitor", "spawn", FUNCTION),
    Row("spawn_at", "spawn", FUNCTION),
    Row("spawn_at", "node", NODE),
    Row("start_behaviour", "spawn", "its `initial_call`"),
    Row("GenServer.start", "spawn", BEHAVIOUR),
    Row("GenServer.start_link", "spawn", BEHAVIOUR),
    Row("StateMachine.start", "spawn", BEHAVIOUR),
    Row("StateMachine.start_link", "spawn", BEHAVIOUR),
    Row("Supervisor.start_link", "spawn", SUPERVISOR),
    Row("DynamicSupervisor.start_link", "spawn", DYNAMIC),
    Row("Task.async_", "spawn", FUNCTION),
    Row("Task.stream", "spawn", FUNCTION),
    Row("TaskSupervisor.async_nolink", "spawn", FUNCTION),
    Row("TaskSupervisor.start_child", "spawn", FUNCTION),
    Row("spawn", "register", "the option `name`"),
    Row("GenServer.start_link", "register", "the option `name`"),
    Row("register", "register", NAME),
    Row("unregister", "register", NAME),
    Row("send", "send", TARGET),
    Row("send_after", "send", TARGET),
    Row("send_interval", "send", TARGET),
    Row("call", "send", TARGET),
    Row("cast", "send", TARGET),
    Row("Table", "send", "the heir: as of `send`"),
    Row("Table.give_away", "send", TARGET),
    Row("Supervisor.start_child", "send", TARGET),
    Row("Supervisor.terminate_child", "send", TARGET),
    Row("Supervisor.restart_child", "send", TARGET),
    Row("Supervisor.delete_child", "send", TARGET),
    Row("Supervisor.get_childspec", "send", TARGET),
    Row("Supervisor.which_children", "send", TARGET),
    Row("Supervisor.count_children", "send", TARGET),
    Row("Supervisor.clear_hold", "send", TARGET),
    Row("DynamicSupervisor.terminate_child", "send", TARGET),
    Row("exit", "exit", TARGET),
    Row("link", "exit", TARGET),
    Row("system.stop", "exit", TARGET),
    Row("system.suspend", "system", "'suspend'"),
    Row("system.resume", "system", "'resume'"),
    Row("system.get_state", "system", "'get_state'"),
    Row("system.replace_state", "system", "'replace_state'"),
    Row("system.get_status", "system", "'get_status'"),
    Row("system.trace", "system", "'trace'"),
    Row("system.statistics", "system", "'statistics'"),
    Row("process_info", "process_info", TARGET),
    Row("process_info_at", "process_info", TARGET),
    Row("dead_letters", "system", "'dead_letters'"),
    Row("blocking", "blocking", ""),
    Row("open_file", "file", "the path without symbolic links, 'r' | 'w' | 'rw'"),
    Row("open_tcp", "net", "the host, the port; and the address"),
    Row("listen_tcp", "net", "the address, the port"),
    Row("nodes.spawn_link_at", "spawn", FUNCTION),
    Row("nodes.spawn_link_at", "node", NODE),
    Row("nodes.spawn_monitor_at", "spawn", FUNCTION),
    Row("nodes.spawn_monitor_at", "node", NODE),
    Row("nodes.kill_node", "node", NAME),
    Row("nodes.register_global", "register", NAME),
    Row("nodes.unregister_global", "register", NAME),
    Row("nodes.send_global", "send", "the name; and as of `send`"),
    Row("nodes.call_global", "send", "the name; and as of `call`"),
    Row("nodes.join", "register", "the group, if it is a str; else its repr"),
    Row("nodes.leave", "register", "as of `join`"),
    Row("nodes.start_pair", "spawn", BEHAVIOUR),
    Row("nodes.start_pair", "register", NAME),
    Row("nodes.call_pair", "send", "the name of the pair"),
    Row("nodes.cast_pair", "send", "the name of the pair"),
    Row("nodes.stop_pair", "exit", "the name of the pair"),
    Row("nodes.DistributedSupervisor.start", "register", NAME),
    Row("nodes.DistributedSupervisor.stop", "register", NAME),
    Row("nodes.DistributedSupervisor.start_child", "send", NAME),
    Row("nodes.DistributedSupervisor.terminate_child", "send", NAME),
    Row("nodes.DistributedSupervisor.which_children", "send", NAME),
    Row("nodes.DistributedSupervisor.clear_hold", "send", NAME),
    Row("nodes.start_partitioned", "register", NAME),
    Row("nodes.stop_partitioned", "register", NAME),
    Row("nodes.call_partition", "send", "(name, node) of the instance, the name, the node"),
    Row("nodes.chaos.kill", "node", NAME),
    Row("nodes.chaos.stop", "node", NAME),
    Row("nodes.chaos.go_on", "node", NAME),
    Row("nodes.chaos.slowing_down", "node", NAME),
    Row("nodes.chaos.stopping", "node", NAME),
    Row("nodes.chaos.dropping", "node", "both names"),
    Row("nodes.chaos.delaying", "node", "both names"),
    Row("nodes.chaos.corrupting", "node", "both names"),
    Row("nodes.chaos.tearing", "node", "both names"),
    Row("nodes.chaos.kill_forge", "system", "'kill_forge'"),
    Row("nodes.Connection", "system", "'attach'"),
)

DRIVERS = (
    Row("drivers.IoSpace", "port_io", "port, width: each access, in C"),
    Row("drivers.IoSpace", "raw_memory", "address, length: likewise"),
    Row("drivers.IoSpace.lines.attach", "device", "'irq N'"),
    Row("drivers.Qemu.start", "device", "'qemu'"),
    Row("drivers.IoServer.start", "device", "'qemu'"),
    Row("drivers.MachineSpace.open", "device", "'machine'"),
    Row("drivers.open_device", "device", "the name, and 'irq N' of each of its interrupts"),
    Row("drivers.open_device", "port_io", "its ports"),
    Row("drivers.open_device", "raw_memory", "its registers"),
    Row("drivers.revoke_device", "device", "the name"),
    Row("drivers.open_area", "device", "'DISK/AREA'"),
)
"""Likewise, of the drivers."""

INIT = (
    Row("boot.init.status", "send", TARGET),
    Row("boot.init.start", "send", TARGET),
    Row("boot.init.clear", "send", TARGET),
    Row("boot.init.stop", "send", TARGET),
    Row("boot.init.stop", "exit", TARGET),
    Row("boot.init.restart", "send", TARGET),
    Row("boot.init.restart", "exit", TARGET),
)
"""Likewise, of the init goals. Init itself asks `exit`, of the exclusions that come with a request, so one made by hand is refused too."""

LATER = (Row("ffi", "ffi", "by nobody yet"),)
"""Kinds that no call of the runtime asks yet: there is none that does such a thing. `caps.check` asks them for a program."""


# --- the checks of the core's calls --------------------------------------------------------------------------------------------


def permit(process: Process, kind: str, *what: Any) -> None:
    """CapabilityError unless the process, for which the caller acts, may."""
    layers = exclusions.layers_of(process)
    if layers:
        require(layers, kind, what)


def permit_target(process: Process, kind: str, target: Any) -> None:
    """CapabilityError unless the process may do something of this kind to another: a pid, a name, `(name, node)`."""
    layers = exclusions.layers_of(process)
    if layers:
        target, what = aliases(process.pid.node, target)
        if target != process.pid:
            require(layers, kind, what)
            if kind == "send":
                forbid_service(process, target)


def permit_send(process: Process, layers: caps.Layers, destination: Any) -> Any:
    """CapabilityError unless it may send there, to what is no Pid. What to send to: the pid that a local name stands for now."""
    target, what = aliases(process.pid.node, destination)
    forbid_service(process, target)
    if type(target) is Pid and target.process is not process:
        require_target(layers, target, process)
    elif type(target) is not Pid:
        require(layers, "send", what)
    return target


def forbid_service(process: Process, target: Any) -> None:
    """CapabilityError if this is a service, a pid, `(name, node)` or a name, and the process, which has exclusions, is none."""
    if type(target) is Pid:
        is_ours = target.process is not None and is_service(target.process)
    else:
        is_ours = (target if type(target) is str else target[0]) in services
    if is_ours and not acts_as_service(process):
        refuse_service("send", target)


def send_by(name: str, pid: Pid, message: Any) -> None:
    """`send` to who has a name that only others know, which counts as one of his."""
    process = scheduler.caller("send")
    layers = exclusions.layers_of(process)
    if layers:
        if pid != process.pid:
            require(layers, "send", (name, *known_as(pid)))
        message = scheduler.stamped(message, layers, pid)
    if process.outbox is not None:
        process.outbox.send(pid, copy_value(message))
    else:
        scheduler.tell(pid, message)


def permit_spawn(process: Process, fn: Any) -> None:
    """CapabilityError unless it may start a process that runs this: a function, or the name to go by."""
    layers = exclusions.layers_of(process)
    if layers:
        require(layers, "spawn", (fn if type(fn) is str else function_name(fn),))


def aliases(here: str, target: Any) -> tuple[Any, tuple[Any, ...]]:
    """The target as it is to be used, and all that exclusions may call it. A local name that nobody has stays a name. `here`: this node."""
    if type(target) is Pid:
        return target, known_as(target)
    name, node = (target, here) if type(target) is str else target
    holder = names.holder(name) if node == here else None
    if holder is not None:
        return holder.pid, known_as(holder.pid)
    return target, ((name, node), name, node)


def function_name(fn: Any) -> str:
    """What an exclusion calls a function: `module:qualname`, of a partial that of what it calls. Who is no function goes by its class."""
    while type(fn) is partial:
        fn = fn.func
    if not hasattr(fn, "__qualname__"):
        fn = type(fn)
    return f"{fn.__module__}:{fn.__qualname__}"


def serve(name: str) -> None:
    """Let this be the name of a service of the runtime's: no process with exclusions sends to it but by its functions."""
    services.add(name)


def check_access(kind: str, *what: Any) -> None:
    """`permit` of the calling process, if there is one."""
    process = scheduler.current_or_none()
    if process is not None:
        permit(process, kind, *what)


def check_target(kind: str, target: Any, what: str) -> None:
    """`permit_target` of the calling process, if there is one."""
    process = scheduler.current_or_none()
    if process is not None:
        if type(target) is not Pid:
            names.check_destination(target, what)
        permit_target(process, kind, target)
