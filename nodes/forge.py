"""The forge: an OS process that has imported what nodes need, and forks them in milliseconds instead of starting interpreters in hundreds.

Theory of operation. It is a fresh interpreter with one thread, no trio loop and nothing of the user's program. For each request it forks an
intermediate OS process, which forks the node, opens its pidfd (nobody can have reaped the node yet, so its pid is surely its own),
tells the owner, and exits; so the owner, a subreaper, becomes the parent of the node. The forge is in a session of its own and leads
the process group of all that the owner does not know yet: killing that group leaves nothing unknown behind. Nobody needs the forge to
go on: the owner starts another.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import Any, NoReturn

from nodes import kernel, member
from nodes.control import Channel, ChannelClosed, close_all, socket_pair
from nodes.listener import start_sweeper

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # of our packages
PACKAGES = ("caps", "beamlike", "nodes")
# A stranger with the name of a package of ours, which something imported at the start, has to give way, so that `main` can name it.
_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); "
    "strangers = {{name: sys.modules.pop(name).__file__ for name in {packages!r}"
    " if name in sys.modules and not str(sys.modules[name].__file__).startswith({root!r})}}; "
    "from nodes.forge import main; main(strangers, *{arguments!r})"
)


class Forge:
    """The owner's end: a forge that it started, to which it may send requests at once.

    Args:
        body: `module:function` of the nodes' body. If it is ours the forge imports it.
        listens_at: the file of the owner's socket, to be removed if the owner is killed.

    Raises: OSError if it cannot be executed.
    """

    def __init__(self, body: str, listens_at: str) -> None:
        ours, theirs = socket_pair()
        self.is_ready = False
        self.error = ""  # why it cannot be a forge
        self.status = 0  # once it has ended: as `subprocess` gives it
        arguments = theirs.fileno(), os.getpid(), body.partition(":")[0], listens_at
        program = _PROGRAM.format(root=ROOT, packages=PACKAGES, arguments=arguments)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-P", "-c", program]
        with ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True)
            undo.callback(self._kill)
            self.pid = self._process.pid
            self.pidfd = os.pidfd_open(self.pid)
            undo.pop_all()
        self.channel = Channel(ours)

    def end(self) -> None:
        """Kill it, with all in its group, reap it, and close what is held of it."""
        self._kill()
        self.channel.close()
        os.close(self.pidfd)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.status = self._process.wait()


def main(strangers: dict[str, str | None], control: int, owner: int, body: str, listens_at: str) -> NoReturn:
    """Be the forge, until the owner closes its end. `strangers`: files that were imported in the place of our packages."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the owner's thread had blocked, and
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # what its program ignored
    kernel.set_death_signal(signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(1)
    kernel.keep_freed_memory()
    os.set_inheritable(control, False)
    channel = Channel(socket.socket(fileno=control))
    try:
        start_sweeper(owner, listens_at)
        _import(strangers, body)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the owner raises it
        channel.send("error", "".join(traceback.format_exception(error))[-4096:])
        member.send_all(channel)
        os._exit(1)
    gc.collect()
    gc.freeze()  # or a collection in a node would copy every page of it
    channel.send("ready")
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        poll.poll()
        try:
            packet = channel.receive()
        except ChannelClosed:
            os._exit(0)
        if packet is not None:
            (_, *request), fds = packet
            _fork(channel, request, fds, owner)
            member.send_all(channel)


def _import(strangers: dict[str, str | None], body: str) -> None:
    import_module("trio")
    for name in PACKAGES:
        found = strangers.get(name, import_module(name).__file__) or "nowhere"
        if os.path.dirname(os.path.dirname(os.path.abspath(found))) != ROOT:
            raise ImportError(
                f"our packages come from one place, {ROOT}, but {name} is {found}: rename or remove that, or take its folder off the path"
            )
    if body.partition(".")[0] in PACKAGES:
        import_module(body)


def _fork(channel: Channel, request: list[Any], fds: list[int], owner: int) -> None:
    name, incarnation, *_ = request
    try:
        intermediate = os.fork()
    except OSError as error:
        channel.send("fork_failed", name, incarnation, f"fork: {error.strerror}")
    else:
        if intermediate == 0:
            _be_intermediate(channel, request, fds, owner)
        _, status = os.waitpid(intermediate, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            text = os.strerror(code) if code > 0 else f"the intermediate OS process was ended by signal {-code}"
            channel.send("fork_failed", name, incarnation, f"fork: {text}")
    finally:
        close_all(fds)


def _be_intermediate(channel: Channel, request: Sequence[Any], fds: list[int], owner: int) -> NoReturn:
    name, incarnation, core, settings = request
    status = 1
    try:
        me = os.getpid()
        node = os.fork()
        if node == 0:
            channel.close()
            member.begin((name, incarnation, core, settings), fds, owner, me)
        channel.send("forked", name, incarnation, node, fds=[os.pidfd_open(node)])
        member.send_all(channel)
        status = 0
    except OSError as error:
        status = error.errno or 1
    finally:
        os._exit(status)
