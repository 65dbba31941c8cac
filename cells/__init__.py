# Cells: untrusted programs, each in an OS process of its own behind walls, with a pid like any other.
#
#   cell.py          spawn_cell, compile_component;  compiled.py  what that gives
#   process.py       what spawn_cell starts;  gateway.py  the process that a cell is to everybody else;  acts.py  what it may ask for
#   connection.py    its OS process and the ring to it;  maker.py, zygotes.py  who forks it;  inside/  what runs in it
#   translation.py   messages, with handles for pids;  handles.py;  kinds.py  what crosses the ring
#   served.py        files and connections, opened on the trusted side
#   limits.py        what a cell may use
#   walls.py         which walls this machine gives;  canary.py  whether they stand
#   lockdown.py      the lock;  seccomp.py, bpf.py, syscalls.py, landlock.py, namespaces.py  its parts
#   errors.py        CellUnavailable

from cells.cell import Cell, compile_component, spawn_cell
from cells.compiled import Compiled
from cells.errors import CellUnavailable
from cells.limits import Limits
from cells.process import CellEnded, CellOutput
from cells.walls import Found, demand, probe

__all__ = [
    "Cell",
    "CellEnded",
    "CellOutput",
    "CellUnavailable",
    "Compiled",
    "Found",
    "Limits",
    "compile_component",
    "demand",
    "probe",
    "spawn_cell",
]
