"""The actor core: the processes of one node, by Erlang's rules.

Inside, from the bottom up:

    hot/            what runs for every message: ids, values, process records, timers, scheduler, calls (compiled)
    exits, records, wire, names, limits, dead_letters, routing      what processes are made of
    signals, unwinding, preemption, trio_mode, garbage              how they end, are interrupted, and use trio
    processes, clock, table, reports, node                          what programs call, and the node itself
    behaviours/     GenServer, StateMachine, supervisors, Task: ordinary process code
    testing/        for users' tests

Other packages import from here, not from the modules.
"""

from beamlike.behaviours import application
from beamlike.behaviours.child import DEFAULT, ChildSpec
from beamlike.behaviours.dynamic_supervisor import DynamicSupervisor
from beamlike.behaviours.gen_server import NOREPLY, GenServer
from beamlike.behaviours.restarts import Backoff
from beamlike.behaviours.starting import IGNORE
from beamlike.behaviours.supervising import ChildError, ChildInfo, ChildStartError
from beamlike.behaviours.supervisor import Supervisor
from beamlike.behaviours.task import Task, TaskSupervisor
from beamlike.clock import cancel_timer, send_after, send_interval, sleep
from beamlike.exits import CallError, CallTimeoutError, Down, Exit, ExitError, ProcessExit, Stop
from beamlike.guest import call_from_asyncio, run_in_asyncio
from beamlike.hot.calls import Call, Caller, Cast, call, cast, reply
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.scheduler import receive, self_pid, send, spawn
from beamlike.limits import Limits, Mailbox
from beamlike.names import BadNameError, register, registered, unregister, whereis
from beamlike.node import node, run
from beamlike.processes import process_flag, process_info, processes, spawn_at, spawn_link, spawn_monitor
from beamlike.records import record
from beamlike.signals import demonitor, exit, link, monitor, unlink
from beamlike.table import Table, TableError, TableTransfer
from beamlike.trio_mode import blocking, io
