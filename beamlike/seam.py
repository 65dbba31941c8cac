"""The face for packages that join nodes to each other: what a router needs of the core. Programs need none of it.

A router is installed when its node is open (`routing.install`); an intake brings what other nodes sent into the loop (`Node.join`).
What arrives is acted upon by the functions here, in the node's thread and outside of any step.
"""

from beamlike.abroad import here, leaves, left, life
from beamlike.behaviours.asking import RESTARTING, STOPPED
from beamlike.behaviours.child import spec_of
from beamlike.behaviours.options import Options
from beamlike.behaviours.starting import start_pairs_by
from beamlike.behaviours.supervising import Child
from beamlike.behaviours.supervisor import StaticSupervising
from beamlike.behaviours.system import Control, SystemRequest
from beamlike.dead_letters import count as count_dead_letter
from beamlike.exits import error_reason, format_reason, unwrapped
from beamlike.hot import nocython
from beamlike.hot.calls import ANSWERED, BEGUN, FAILED, Call, Caller, Wait, answer, make_wait, release_caller
from beamlike.hot.codec import ELSEWHERE
from beamlike.hot.codec import pack as pack_quickly
from beamlike.hot.codec import unpack as unpack_quickly
from beamlike.hot.ids import NodeId, Ref, make_pid, make_ref_of
from beamlike.hot.mailboxes import mailbox_length
from beamlike.hot.process import EXITING, INFINITY, Process
from beamlike.hot.scheduler import (
    caller,
    check_timeout,
    current_node,
    current_process,
    deliver,
    enqueue,
    has_runnable,
    is_ready,
    now,
    process_count,
    push_timer,
    run_queue_length,
    stepped,
    watch_steps,
)
from beamlike.hot.timers import Timer
from beamlike.hot.values import copy_value, importable_name
from beamlike.logs import log
from beamlike.names import check_name, holder
from beamlike.node import Node
from beamlike.processes import check_options, describe, extra, start
from beamlike.promises import begin_call, until_one_is_over
from beamlike.routing import Router, install
from beamlike.signals import (
    down_from_afar,
    exit_from_afar,
    ignore,
    link_from_afar,
    observe,
    on_release,
    unlink_from_afar,
)
from beamlike.trio_mode import let_go_on

__all__ = [
    "ANSWERED",
    "BEGUN",
    "ELSEWHERE",
    "EXITING",
    "FAILED",
    "INFINITY",
    "RESTARTING",
    "STOPPED",
    "Call",
    "Caller",
    "Child",
    "Control",
    "Node",
    "NodeId",
    "Options",
    "Process",
    "Ref",
    "Router",
    "StaticSupervising",
    "SystemRequest",
    "Timer",
    "Wait",
    "answer",
    "begin_call",
    "caller",
    "check_name",
    "check_options",
    "check_timeout",
    "copy_value",
    "count_dead_letter",
    "current_node",
    "current_process",
    "deliver",
    "describe",
    "down_from_afar",
    "enqueue",
    "error_reason",
    "exit_from_afar",
    "extra",
    "format_reason",
    "has_runnable",
    "here",
    "holder",
    "ignore",
    "importable_name",
    "install",
    "is_ready",
    "leaves",
    "left",
    "let_go_on",
    "life",
    "link_from_afar",
    "log",
    "mailbox_length",
    "make_pid",
    "make_ref_of",
    "make_wait",
    "nocython",
    "now",
    "observe",
    "on_release",
    "pack_quickly",
    "process_count",
    "push_timer",
    "release_caller",
    "run_queue_length",
    "spec_of",
    "start",
    "start_pairs_by",
    "stepped",
    "unlink_from_afar",
    "unpack_quickly",
    "until_one_is_over",
    "unwrapped",
    "watch_steps",
]
