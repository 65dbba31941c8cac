"""What all tests share."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

# A runner in the background of a shell ignores SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
# The modules of checks are imported by their names, as they are in the nodes; and so are those that the tests of cells share.
sys.path[:0] = [str(HERE / name) for name in ("nodes", "cells", "unikernels", "drivers", "boot")]
PATIENCE = 60.0  # seconds after which a program hangs

Ended = subprocess.CompletedProcess[str]


class Interpreters:
    """Gives each program an interpreter of its own, which is a fork of one that has imported beamlike already (see forked.py)."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(PATIENCE)
        command = [sys.executable, "-P", "-X", "faulthandler", str(HERE / "forked.py"), str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._origin = subprocess.Popen(command, cwd=HERE.parent, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def run(self, source: str, *arguments: object) -> Ended:
        """How the program ended that sees these arguments in argv. It fails the test when it hangs."""
        argv = ["-c", *map(str, arguments)]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            socket.send_fds(self._channel, [json.dumps((source, argv)).encode()], [out.fileno(), err.fileno()])
            pid = self._answer()
            try:
                status = self._answer()
            except BaseException as error:
                os.kill(pid, signal.SIGKILL)
                self._answer()
                if isinstance(error, TimeoutError):
                    pytest.fail(f"the program hangs; so far it wrote {_text(out)!r} {_text(err)!r}")
                raise
            return Ended(argv, status, _text(out), _text(err))

    def close(self) -> None:
        self._channel.close()
        self._origin.wait()

    def _answer(self) -> int:
        answer = self._channel.recv(64)
        assert answer, "the interpreter that forks has ended"
        return int(answer)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read())


@pytest.fixture(scope="session")
def interpreters() -> Iterator[Interpreters]:
    """Where programs run that could hang or end this interpreter."""
    interpreters = Interpreters()
    yield interpreters
    interpreters.close()


@pytest.fixture
def program(interpreters: Interpreters) -> Callable[[str], Ended]:
    """Runs a program in an interpreter of its own, with the names of beamlike. It fails the test when it hangs."""

    def run(source: str) -> Ended:
        return interpreters.run("from beamlike import *\nimport signal, sys, threading, time, trio\n" + dedent(source))

    return run


@pytest.fixture
def beamlike(interpreters: Interpreters) -> Callable[..., Ended]:
    """Runs the command `beamlike` with these arguments, as the installed script does."""

    def run(*arguments: object) -> Ended:
        return interpreters.run("import sys; sys.argv[0] = 'beamlike'; from boot.cli import main; sys.exit(main())", *arguments)

    return run


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    """A node in which the checks of a module of `tests/cells` run: a `hosting.Host`."""
    from hosting import Host  # by who needs it: it imports beamlike

    host = Host()
    yield host
    host.close()


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three real nodes for as long as the tests run: a `system.System`, which those of `tests/nodes` share."""
    from system import System

    system = System(tmp_path_factory.mktemp("system"))
    yield system
    system.close()
