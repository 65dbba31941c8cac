"""The actor core: the processes of one node, by Erlang's rules.

Inside, from the bottom up:

    hot/            what runs for every message: ids, values, process records, timers, scheduler, calls (compiled)
    exits, records, names, limits, dead_letters, routing            what processes are made of
    signals, unwinding, preemption, trio_mode, garbage, logs        how they end, are interrupted, and use trio
    processes, clock, promises, table, lock, wire                   what programs call
    abroad, alone, reports, failures, main_process, hooks, node     what a node is made of
    running, embedding, guest                                       the ways to open one
    seam            a second face, for `nodes`, which joins nodes
    behaviours/     GenServer, StateMachine, supervisors, Task: ordinary process code
    testing/        for users' tests

Other packages import from here, not from the modules.
"""

from beamlike.behaviours import application, system
from beamlike.behaviours.asking import ChildError, ChildInfo, ChildStartError
from beamlike.behaviours.child import DEFAULT, ChildSpec
from beamlike.behaviours.dynamic_supervisor import DynamicSupervisor
from beamlike.behaviours.gen_server import Continue, GenServer
from beamlike.behaviours.requests import Request, call
from beamlike.behaviours.restarts import Backoff
from beamlike.behaviours.starting import IGNORE, Ignored, Started, start_behaviour
from beamlike.behaviours.state_machine import Enter, EventTimeout, StateMachine, StateTimeout, Timeout
from beamlike.behaviours.supervisor import Supervisor
from beamlike.behaviours.task import Task, TaskSupervisor
from beamlike.clock import cancel_timer, send_after, send_interval, sleep
from beamlike.dead_letters import DeadLetter, dead_letter_counts, dead_letters
from beamlike.doors import listen_tcp, open_file, open_tcp
from beamlike.embedding import node
from beamlike.exclusions import caller_layers
from beamlike.exits import NOREPLY, CallError, CallTimeoutError, Down, Exit, ExitError, InternalError, ProcessExit, Stop
from beamlike.guest import call_from_asyncio, run_in_asyncio
from beamlike.hot.calls import Call, Caller, Cast, cast, reply
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.scheduler import make_ref, receive, self_pid, send, spawn
from beamlike.limits import Limits, Mailbox
from beamlike.lock import Lock
from beamlike.names import BadNameError, register, registered, unregister, whereis
from beamlike.processes import ProcessInfo, process_flag, process_info, process_info_at, processes, spawn_at, spawn_link, spawn_monitor
from beamlike.records import record
from beamlike.running import run
from beamlike.signals import demonitor, exit, link, monitor, unlink
from beamlike.table import Table, TableError, TableTransfer
from beamlike.tightening import tighten
from beamlike.trio_mode import blocking, io
from beamlike.wire import WireError, pack, unpack

__all__ = [
    "DEFAULT",
    "IGNORE",
    "NOREPLY",
    "Backoff",
    "BadNameError",
    "Call",
    "CallError",
    "CallTimeoutError",
    "Caller",
    "Cast",
    "ChildError",
    "ChildInfo",
    "ChildSpec",
    "ChildStartError",
    "Continue",
    "DeadLetter",
    "Down",
    "DynamicSupervisor",
    "Enter",
    "EventTimeout",
    "Exit",
    "ExitError",
    "GenServer",
    "Ignored",
    "InternalError",
    "Limits",
    "Lock",
    "Mailbox",
    "Pid",
    "ProcessExit",
    "ProcessInfo",
    "Ref",
    "Request",
    "Started",
    "StateMachine",
    "StateTimeout",
    "Stop",
    "Supervisor",
    "Table",
    "TableError",
    "TableTransfer",
    "Task",
    "TaskSupervisor",
    "Timeout",
    "WireError",
    "application",
    "blocking",
    "call",
    "call_from_asyncio",
    "caller_layers",
    "cancel_timer",
    "cast",
    "dead_letter_counts",
    "dead_letters",
    "demonitor",
    "exit",
    "io",
    "link",
    "listen_tcp",
    "make_ref",
    "monitor",
    "node",
    "open_file",
    "open_tcp",
    "pack",
    "process_flag",
    "process_info",
    "process_info_at",
    "processes",
    "receive",
    "record",
    "register",
    "registered",
    "reply",
    "run",
    "run_in_asyncio",
    "self_pid",
    "send",
    "send_after",
    "send_interval",
    "sleep",
    "spawn",
    "spawn_at",
    "spawn_link",
    "spawn_monitor",
    "start_behaviour",
    "system",
    "tighten",
    "unlink",
    "unpack",
    "unregister",
    "whereis",
]
