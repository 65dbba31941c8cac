"""The hostile corpus: programs that attack, each a function that returns a proof of its success.

One module a kind. `walled.attack` says what must become of each behind all walls. Attacks by messages are not here: they need a gateway.
"""

from walled import ATTACKS

from corpus import cpu, descriptors, files, forks, kernel, memory, network, others, privileges, proc, runtime, signals

__all__ = [
    "ATTACKS",
    "cpu",
    "descriptors",
    "files",
    "forks",
    "kernel",
    "memory",
    "network",
    "others",
    "privileges",
    "proc",
    "runtime",
    "signals",
]
