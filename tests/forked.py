"""Run by conftest.py: an interpreter that has imported beamlike and its commands, and forks for each program that a test runs.

Importing takes some 0.5 s; a fork has done that already, and else is a fresh interpreter: one thread, no node, and it ends as
interpreters do, with finalization and the exit status or signal that follows from it. Each request comes with the files that are to be
its stdout and stderr; the answers are its pid, and how it ended.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from types import ModuleType

import boot.cli  # noqa: F401 - what takes long

LONGEST = 1 << 16  # bytes of a request


def next_program(channel: socket.socket) -> tuple[str, list[str]]:
    """What the fork, which alone returns, is to execute: the source and argv. The others end when nobody can ask any more."""
    while True:
        request, files, _, _ = socket.recv_fds(channel, LONGEST, 2)
        if not request:
            os._exit(0)
        fork = os.fork()
        if not fork:
            channel.close()
            for target, file in enumerate(files, 1):
                os.dup2(file, target)
                os.close(file)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            source, argv = json.loads(request)
            return source, argv
        for file in files:
            os.close(file)
        channel.send(json.dumps(fork).encode())
        _, status = os.waitpid(fork, 0)
        channel.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


gc.freeze()  # or each fork would search all that was imported for garbage when it ends
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal of the tests: their end is ours, by the channel
source, sys.argv = next_program(socket.socket(fileno=int(sys.argv[1])))
sys.modules["__main__"] = main = ModuleType("__main__")
exec(compile(source, "<string>", "exec"), vars(main))
