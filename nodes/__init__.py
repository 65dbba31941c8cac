"""Many nodes: one OS process per core, the mailboxes between them, their deaths, names and placement.

Inside, from the bottom up:

    ring.h, ring.c, rings, hot/         a pair of rings in shared memory, from C, from Python, and compiled for the loop
    segments, mailboxes                 large payloads; the mailboxes of a node, its doorbell, polling and sleeping
    kinds, peer, router, arrivals, cycles       the records, and what the primitives of the core become between nodes
    kernel, control, member, forge, poll_loop, owned_life, owner       OS processes: who starts them, reaps them, and tells the others
    membership, heartbeat               who is up, who is lost, who is hung
    serd, retirement, homing            whose core is suspected, and given up; which core a node is on, and goes to
    fellows, leading, replicated        how processes of one role find each other, and keep a table that outlives nodes
    load, topology, placement, placing, local_children, rendezvous      how nodes are, and where processes are to be
    global_names, groups, distributed_supervisor, partitioned   names, groups and supervision over all nodes
    pairs, pair_*                       process pairs: servers that outlive their node
    chaos, chaos_*                      faults on purpose, for the tests of programs: a face of its own, `from nodes import chaos`
    runtime_dir, listener, frames, attaching    how other programs find a system that runs, and ask it
    overview, shell, attached           what answers them
    services, life, running             what runs on each node besides the program; the life of one; `run`

Other packages import from here, not from the modules.
"""

from nodes.attaching import AttachError, Connection, ConnectionLost, list_systems
from nodes.distributed_supervisor import DistributedSupervisor
from nodes.errors import NodeLost, StartError
from nodes.global_names import call_global, register_global, registered_global, send_global, unregister_global, whereis_global
from nodes.groups import (
    GroupJoined,
    GroupLeft,
    demonitor_group,
    join,
    leave,
    list_groups,
    local_members,
    members,
    monitor_group,
)
from nodes.load import Load, load_of
from nodes.membership import NodeDown, NodeUp
from nodes.pair_starting import start_pair
from nodes.pairs import Pair, call_pair, cast_pair, change, stop_pair, where_is_pair
from nodes.partitioned import call_partition, partition_of, start_partitioned, stop_partitioned
from nodes.placement import demonitor_node, kill_node, list_nodes, monitor_node, spawn_link_at, spawn_monitor_at
from nodes.router import SpawnError
from nodes.running import run
from nodes.topology import NodeState, topology

__all__ = [
    "AttachError",
    "Connection",
    "ConnectionLost",
    "DistributedSupervisor",
    "GroupJoined",
    "GroupLeft",
    "Load",
    "NodeDown",
    "NodeLost",
    "NodeState",
    "NodeUp",
    "Pair",
    "SpawnError",
    "StartError",
    "call_global",
    "call_pair",
    "call_partition",
    "cast_pair",
    "change",
    "demonitor_group",
    "demonitor_node",
    "join",
    "kill_node",
    "leave",
    "list_groups",
    "list_nodes",
    "list_systems",
    "load_of",
    "local_members",
    "members",
    "monitor_group",
    "monitor_node",
    "partition_of",
    "register_global",
    "registered_global",
    "run",
    "send_global",
    "spawn_link_at",
    "spawn_monitor_at",
    "start_pair",
    "start_partitioned",
    "stop_pair",
    "stop_partitioned",
    "topology",
    "unregister_global",
    "where_is_pair",
    "whereis_global",
]
