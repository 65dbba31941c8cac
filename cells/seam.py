"""The face for unikernels, whose programs join the mailboxes as cells do. Programs need none of it."""

from cells.bpf import ALLOW, TRAP, Check, assemble
from cells.connection import Connection, cpu_clock
from cells.gateway import Gateway, Listener, name_of
from cells.maker import Ended, Maker, Ways, duplicate, eventfd, tell_safely
from cells.syscalls import call_named, machine, number_of

__all__ = [
    "ALLOW",
    "TRAP",
    "Check",
    "Connection",
    "Ended",
    "Gateway",
    "Listener",
    "Maker",
    "Ways",
    "assemble",
    "call_named",
    "cpu_clock",
    "duplicate",
    "eventfd",
    "machine",
    "name_of",
    "number_of",
    "tell_safely",
]
