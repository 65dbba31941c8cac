"""The face for packages that join nodes to each other: what a router needs of the core. Programs need none of it.

A router is installed when its node is open (`routing.install`); an intake brings what other nodes sent into the loop (`Node.join`).
What arrives is acted upon by the functions here, in the node's thread and outside of any step.
"""

from beamlike.abroad import here, leaves, left, life
from beamlike.behaviours.asking import RESTARTING, STOPPED
from beamlike.behaviours.child import spec_of
from beamlike.behaviours.options import Options
from beamlike.behaviours.starting import Failed, Started, start_behaviour, start_pairs_by
from beamlike.behaviours.supervising import Child
from beamlike.behaviours.supervisor import StaticSupervising
from beamlike.behaviours.system import Control, SystemRequest
from beamlike.dead_letters import count as count_dead_letter
from beamlike.exclusions import Refused, Under, inherited_from, is_refused_for_another, layers_of, limited_request, refusal
from beamlike.exits import error_reason, format_reason, is_error, is_quiet, unwrapped
from beamlike.extras import extra
from beamlike.hooks import Hooks
from beamlike.hot import nocython
from beamlike.hot.calls import ANSWERED, BEGUN, FAILED, Call, Caller, Wait, answer, ask_service, joined, make_wait, release_caller
from beamlike.hot.codec import ELSEWHERE
from beamlike.hot.codec import pack as pack_quickly
from beamlike.hot.codec import unpack as unpack_quickly
from beamlike.hot.guards import is_service, known_as
from beamlike.hot.ids import NodeId, Ref, make_pid, make_ref_of
from beamlike.hot.mailboxes import mailbox_length
from beamlike.hot.process import EXITING, INFINITY, PREEMPTED, Process, set_layers, set_outbox
from beamlike.hot.scheduler import (
    caller,
    check_thread,
    check_timeout,
    current_hooks,
    current_layers,
    current_node,
    current_process,
    deliver,
    enqueue,
    has_runnable,
    is_ready,
    next_timer,
    now,
    process_count,
    push_timer,
    run_queue_length,
    set_intake,
    stepped,
    tell,
    watch_steps,
)
from beamlike.hot.timers import Timer
from beamlike.hot.values import copy_value, importable_name, shape_of
from beamlike.logs import log
from beamlike.names import check_name, holder, permit_name
from beamlike.node import Node, close_core, open_core
from beamlike.outside import outside
from beamlike.preemption import Cooperative
from beamlike.privileged import check_access, function_name, permit, permit_spawn, permit_target, send_by, serve
from beamlike.processes import check_options, describe, start
from beamlike.promises import begin_call, until_one_is_over
from beamlike.routing import Router, install
from beamlike.routing import current as current_router
from beamlike.signals import (
    down_from_afar,
    end,
    exit_from_afar,
    exit_own,
    ignore,
    join,
    link_from_afar,
    observe,
    on_release,
    unlink_from_afar,
)
from beamlike.tightening import check_right, living_above, note_tightened, tighten_here, tightened, told_of
from beamlike.trio_mode import ENTER, let_go_on
from beamlike.wire import Code

__all__ = [
    "ANSWERED",
    "BEGUN",
    "ELSEWHERE",
    "ENTER",
    "EXITING",
    "FAILED",
    "INFINITY",
    "PREEMPTED",
    "RESTARTING",
    "STOPPED",
    "Call",
    "Caller",
    "Child",
    "Code",
    "Control",
    "Cooperative",
    "Failed",
    "Hooks",
    "Node",
    "NodeId",
    "Options",
    "Process",
    "Ref",
    "Refused",
    "Router",
    "Started",
    "StaticSupervising",
    "SystemRequest",
    "Timer",
    "Under",
    "Wait",
    "answer",
    "ask_service",
    "begin_call",
    "caller",
    "check_access",
    "check_name",
    "check_options",
    "check_right",
    "check_thread",
    "check_timeout",
    "close_core",
    "copy_value",
    "count_dead_letter",
    "current_hooks",
    "current_layers",
    "current_node",
    "current_process",
    "current_router",
    "deliver",
    "describe",
    "down_from_afar",
    "end",
    "enqueue",
    "error_reason",
    "exit_from_afar",
    "exit_own",
    "extra",
    "format_reason",
    "function_name",
    "has_runnable",
    "here",
    "holder",
    "ignore",
    "importable_name",
    "inherited_from",
    "install",
    "is_error",
    "is_quiet",
    "is_ready",
    "is_refused_for_another",
    "is_service",
    "join",
    "joined",
    "known_as",
    "layers_of",
    "leaves",
    "left",
    "let_go_on",
    "life",
    "limited_request",
    "link_from_afar",
    "living_above",
    "log",
    "mailbox_length",
    "make_pid",
    "make_ref_of",
    "make_wait",
    "next_timer",
    "nocython",
    "note_tightened",
    "now",
    "observe",
    "on_release",
    "open_core",
    "outside",
    "pack_quickly",
    "permit",
    "permit_name",
    "permit_spawn",
    "permit_target",
    "process_count",
    "push_timer",
    "refusal",
    "release_caller",
    "run_queue_length",
    "send_by",
    "serve",
    "set_intake",
    "set_layers",
    "set_outbox",
    "shape_of",
    "spec_of",
    "start",
    "start_behaviour",
    "start_pairs_by",
    "stepped",
    "tell",
    "tighten_here",
    "tightened",
    "told_of",
    "unlink_from_afar",
    "unpack_quickly",
    "until_one_is_over",
    "unwrapped",
    "watch_steps",
]
