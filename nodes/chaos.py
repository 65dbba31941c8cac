"""Faults on purpose, for the tests of programs of many nodes: see docs/chaos.md.

Nodes are killed, stopped and slowed down; what one sends to another is dropped, delayed, corrupted, or torn while it is written. Nothing of
it is simulated: the signals are real, and the bits are in the memory that the nodes share.

    kill, stop, go_on, kill_forge, conductor        at once
    slowing_down, stopping                          a node, while an `async with` block lasts
    dropping, delaying, corrupting, tearing         what one node sends to another, while it lasts
    Schedule, Step, run, replay, to_json, from_json     at random, and again
"""

from nodes.chaos_lasting import Lasting
from nodes.chaos_links import KINDS, corrupting, delaying, dropping, tearing
from nodes.chaos_nodes import conductor, go_on, kill, kill_forge, slowing_down, stop, stopping
from nodes.chaos_schedule import FAULTS, Schedule, Step, from_json, replay, run, to_json

__all__ = [
    "FAULTS",
    "KINDS",
    "Lasting",
    "Schedule",
    "Step",
    "conductor",
    "corrupting",
    "delaying",
    "dropping",
    "from_json",
    "go_on",
    "kill",
    "kill_forge",
    "replay",
    "run",
    "slowing_down",
    "stop",
    "stopping",
    "tearing",
    "to_json",
]
