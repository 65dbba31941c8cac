"""The owner: starts the OS processes of a system of nodes, says who is up and who has ended, and leaves nothing behind.

Theory of operation. The owner is the only OS process that the others need (D7, D8), so it does no work and decides nothing: it is a
loop over control channels and pidfds that never waits for anybody. The forge makes nodes; they are the owner's children, because it is
a subreaper. What a dead node had sent is read before its end is told. A node that does not take what it is sent is killed, for its
packets wait here. Restarts are asked for by a node; only when none is left the owner begins them all again, for nobody else can ask.

What ended before it was ready would do so again: the forge, or all nodes, are then begun again after RETRY, else at once. A node that was
not ready when its forge died is begun again with another incarnation: the owner might not know it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Literal

from nodes import kernel
from nodes.control import Channel, ChannelClosed, PacketError, close_all, socket_pair
from nodes.errors import NodeLost, StartError
from nodes.forge import Forge
from nodes.interrupts import Interrupts
from nodes.listener import Listener
from nodes.member import PAGE
from nodes.owned_life import Life
from nodes.poll_loop import READ, WRITE, PollLoop
from nodes.requirements import check_arguments, require_descriptors, require_kernel
from nodes.serd import MOST

RETRY = 1.0  # seconds
REAPING = 1.0  # seconds between two looks for what nodes have left in their process groups
MOST_WAITING = 256  # packets for a node that takes none, beyond the 200 or so that its socket holds

_running = threading.Lock()  # being a subreaper is a property of the OS process


class Owner:
    """A system of nodes to be: `run` it once.

    Args:
        names: of the nodes.
        cores: to pin each to, in the same order.
        settings: plain values for the nodes. `body`, default `nodes.life:live`: what runs in a node, `module:function`, called with a
            Member; `path`: entries to put first on its sys.path; `modules`: to import before the body runs.
        main: the name of the node of main, whose `result` is the system's.
        grace: seconds that nodes have to end in order when the run is over; then they are killed.
        start_timeout: seconds that a node has to be ready, from its fork; then it is killed.
        on_main_lost: whether the loss of the node of main ends the system, or is a node's like any other.
        given: descriptors, of which each node gets duplicates; they stay the caller's, open until the end of the run.
    """

    def __init__(
        self,
        names: Sequence[str],
        cores: Sequence[int],
        settings: dict[str, Any],
        *,
        main: str,
        grace: float = 5.0,
        start_timeout: float = 30.0,
        on_main_lost: Literal["stop", "restart"] = "stop",
        given: Sequence[int] = (),
    ) -> None:
        check_arguments(names, cores, main, on_main_lost)
        self._cores = dict(zip(names, cores, strict=True))
        self._settings = {"body": "nodes.life:live", **settings}
        self._main = main
        self._given = tuple(given)
        self._grace = grace
        self._start_timeout = start_timeout
        self._on_main_lost = on_main_lost
        self._incarnation = 0  # of the last life that was begun
        self._lives: dict[str, Life] = {}  # by name: alive, or being started
        self._unreaped: set[Life] = set()  # those that the forge has told of; also of abandoned lives
        self._groups: set[int] = set()  # process groups of which the leader is reaped and others, our children now, may not be
        self._forge: Forge | None = None
        self._names_to_begin = list(names)  # when there is a forge
        self._never_ready = set(names)
        self._ended: Counter[str] = Counter()  # how many lives of a name
        self._faults: deque[tuple[Any, ...]] = deque(maxlen=MOST)  # that are not explained: see `control`, for who becomes ready
        self._retired: dict[str, tuple[int, str]] = {}  # core and reason, by name
        self._result: bytes | None = None
        self._failure: NodeLost | StartError | None = None
        self._is_stopping = False
        self._is_over = False  # nobody is waited for any more
        self._heard = 0  # interrupts that were acted upon
        self._guests: list[socket.socket] = []  # who looks into the system, and waits for a node that is ready

    def run(self) -> bytes:
        """Run the system until its main has ended; return main's packed result. Nothing of the system is left when this returns or raises.

        It may be called in any thread. In the main thread Ctrl-C and SIGTERM tell main to end, a second one at once, and a third one kills
        all; a program that has a handler of its own for one of the two keeps it. Other children of this OS process, its threads and its
        signals are left alone; but while this runs, descendants that lose their parent become children of this OS process.

        Raises: NodeLost; StartError if the system could not be started, or has not enough descriptors; KeyboardInterrupt or
            SystemExit(143) when it was interrupted; RuntimeError if an owner runs already, or this one has; OSError if this OS process runs
            out of descriptors later.
        """
        if self._incarnation:
            raise RuntimeError("this Owner has run: make another one")
        if not _running.acquire(blocking=False):
            raise RuntimeError("a system of nodes runs already in this OS process: it can own one at a time")
        try:
            was_subreaper = require_kernel()
            require_descriptors(len(self._cores))
            with PollLoop() as self._poll, Interrupts() as self._interrupts, closing(Listener()) as self._listener:
                self._poll.register(self._interrupts.bell, self._on_interrupts)
                self._poll.register(self._listener, self._on_guest)
                kernel.set_subreaper(True)
                try:
                    self._open_forge()
                    self._reap_followers()
                    self._loop()
                finally:
                    self._end()
                    kernel.set_subreaper(was_subreaper)
        finally:
            _running.release()
        self._interrupts.raise_if_came()
        if self._failure is not None:
            raise self._failure
        assert self._result is not None
        return self._result

    def _loop(self) -> None:
        while not self._is_over and not (self._is_stopping and not self._unreaped):
            self._reap_groups()
            self._poll.turn(RETRY if self._groups else None)

    # --- the forge ---

    def _open_forge(self) -> None:
        if self._is_stopping:
            return
        try:
            forge = self._forge = Forge(self._settings["body"], self._listener.path)
        except OSError as error:
            self._forge_failed(f"the forge could not be executed: {error}")
            return
        self._poll.register(forge.channel, partial(self._on_forge, forge))
        self._poll.register(forge.pidfd, partial(self._on_forge_end, forge))
        names, self._names_to_begin = self._names_to_begin, []
        for name in names:
            self._begin(name)

    def _forge_failed(self, text: str) -> None:
        if self._never_ready:
            self._fail(StartError(text))
        else:
            self._poll.after(RETRY, self._open_forge)

    def _on_forge(self, forge: Forge, mask: int) -> None:
        if forge.channel.is_closed:
            return
        if mask & WRITE:
            forge.channel.flush()
            self._poll.watch(forge.channel)
        if mask & READ:
            self._read_forge(forge)

    def _read_forge(self, forge: Forge) -> bool:
        """Act on one packet of the forge's. False if there is none now."""
        if forge.channel.is_closed:
            return False
        try:
            packet = forge.channel.receive()
        except ChannelClosed:
            self._poll.close(forge.channel)
            kernel.kill(forge.pidfd)  # deaf, if not dead
            return False
        if packet is None:
            return False
        match packet:
            case (("ready",), []):
                forge.is_ready = True
            case (("error", text), []):
                forge.error = text
            case (("forked", name, _, pid), [pidfd]):
                self._forked(self._lives[name], pid, pidfd)
            case (("fork_failed", name, _, text), []):
                self._could_not_start(self._lives[name], text)
            case _:
                raise AssertionError(packet)
        return True

    def _on_forge_end(self, forge: Forge, mask: int) -> None:
        if forge is not self._forge:
            return
        while self._read_forge(forge):
            pass
        self._close_forge()
        if self._is_stopping:
            return
        if forge.is_ready:
            self._open_forge()
        elif forge.error or forge.status > 0:
            self._forge_failed(f"the forge could not start: {forge.error or f'it exited with status {forge.status}'}")
        else:
            self._poll.after(RETRY, self._open_forge)

    def _close_forge(self) -> None:
        """End it; and what it was asked for, begin again with the next one."""
        forge, self._forge = self._forge, None
        if forge is None:
            return
        self._poll.unregister(forge.pidfd)
        self._poll.close(forge.channel)
        forge.end()
        self._groups.add(forge.pid)
        for life in [life for life in self._lives.values() if not life.is_ready]:
            self._abandon(life)
            if life.name not in self._retired:
                self._names_to_begin.append(life.name)

    # --- the life of a node ---

    def _start(self, name: str) -> None:
        if self._is_stopping or name in self._retired or name in self._lives or name in self._names_to_begin:
            return
        if self._forge is None or self._forge.channel.is_closed:
            self._names_to_begin.append(name)
        else:
            self._begin(name)

    def _begin(self, name: str) -> None:
        forge = self._forge
        assert forge is not None
        self._incarnation += 1
        ours, theirs = socket_pair()
        with theirs:
            page = kernel.new_page(PAGE)
            life = self._lives[name] = Life(name, self._incarnation, self._cores[name], Channel(ours), page, self._ended[name])
            self._poll.register(life.channel, partial(self._on_node, life))
            forge.channel.send("fork", name, life.incarnation, life.core, self._settings, fds=[theirs.fileno(), *self._given])
        self._poll.watch(forge.channel)

    def _forked(self, life: Life, pid: int, pidfd: int) -> None:
        life.pid, life.pidfd = pid, pidfd
        self._unreaped.add(life)
        self._poll.register(pidfd, partial(self._on_node_end, life))
        self._tell_up(life, life)
        self._poll.after(self._start_timeout, partial(self._hurry, life))
        if life.asked_reason is not None:  # it was to be killed before it was known
            life.kill()

    def _hurry(self, life: Life) -> None:
        if life in self._unreaped and not life.is_ready:
            life.error = life.error or f"it was not ready within {self._start_timeout:g} s"
            life.kill(("error", life.error))

    def _ready(self, life: Life) -> None:
        if life.is_ready:
            raise PacketError("`ready` came twice")
        life.is_ready = True
        self._never_ready.discard(life.name)
        self._pass_guests_on()
        for other in self._ready_lives():
            if other is not life:
                self._tell_up(life, other)
                self._tell_up(other, life)
        for name, (core, reason) in self._retired.items():
            self._send(life, "retired", name, core, reason)
        for fault in self._faults:
            self._send(life, "fault", *fault)

    def _could_not_start(self, life: Life, text: str) -> None:
        self._abandon(life)
        if self._never_ready:
            self._fail(StartError(f"the node {life.name} could not start: {text}"))
        self._lost(life, ("error", text))

    def _abandon(self, life: Life) -> None:
        """Forget a life, and kill it if it is known. One that is not known is in the forge's group, or ends at the end of its channel."""
        del self._lives[life.name]
        if life.pid:
            life.kill()
        else:
            self._forget(life)

    def _on_node_end(self, life: Life, mask: int) -> None:
        while self._read_node(life):
            pass
        reason = self._reap(life)
        if self._lives.get(life.name) is life:
            del self._lives[life.name]
            if life.error is not None and not life.is_ready and self._never_ready:
                self._fail(StartError(f"the node {life.name} could not start: {life.error}"))
            self._lost(life, reason)

    def _reap(self, life: Life) -> Any:
        """Reap a life that has ended, with what it leaves in its group; close what is held of it; return why it ended."""
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: what is left there runs as somebody else
            os.killpg(life.pid, signal.SIGKILL)
        status = kernel.reap(life.pidfd)
        self._poll.unregister(life.pidfd)
        os.close(life.pidfd)
        self._unreaped.remove(life)
        self._groups.add(life.pid)
        self._forget(life)
        return life.why_it_ended(status)

    def _reap_followers(self) -> None:
        """What a node's programs leave behind becomes a child of ours: reap what has ended of that while the node lives."""
        for life in self._unreaped:
            kernel.reap_followers(life.pid)
        self._poll.after(REAPING, self._reap_followers)

    def _reap_groups(self) -> None:
        self._groups = {group for group in self._groups if kernel.has_children(group)}

    def _forget(self, life: Life) -> None:
        self._poll.close(life.channel)
        os.close(life.page)

    def _lost(self, life: Life, reason: Any) -> None:
        """A life is over that was not abandoned."""
        self._ended[life.name] += 1
        self._tell_all("down", life.name, life.incarnation, reason)
        if self._is_stopping:
            return
        if life.name == self._main and (self._on_main_lost == "stop" or self._interrupts.came):
            self._fail(NodeLost(life.name, reason))
        elif not self._lives and not self._names_to_begin:
            self._poll.after(0.0 if life.is_ready else RETRY, self._start_all)

    def _start_all(self) -> None:
        for name in self._cores:
            self._start(name)

    # --- what nodes say, and what is said to them ---

    def _ready_lives(self) -> list[Life]:
        return [life for life in self._lives.values() if life.is_ready]

    def _send(self, life: Life, kind: str, *items: Any, fds: Sequence[int] = ()) -> None:
        if life.channel.is_closed:
            return
        try:
            life.channel.send(kind, *items, fds=fds)
        except OSError:  # no descriptors to keep for it
            life.kill(("deaf",))
        if life.channel.waiting > MOST_WAITING:
            life.kill(("deaf",))
        self._poll.watch(life.channel)

    def _tell_all(self, kind: str, *items: Any) -> None:
        for life in self._ready_lives():
            self._send(life, kind, *items)

    def _tell_up(self, life: Life, about: Life) -> None:
        self._send(life, "up", about.name, about.incarnation, about.pid, about.started, about.restarts, fds=[about.pidfd, about.page])

    def _on_node(self, life: Life, mask: int) -> None:
        if life.channel.is_closed:
            return
        if mask & WRITE:
            life.channel.flush()
            self._poll.watch(life.channel)
        if mask & READ:
            self._read_node(life)

    def _read_node(self, life: Life) -> bool:
        """Act on one packet of a node's. False if there is none now."""
        if life.channel.is_closed:
            return False
        try:
            packet = life.channel.receive()
            if packet is None:
                return False
            items, fds = packet
            try:
                if self._lives.get(life.name) is life:
                    self._act(life, items, fds)
            finally:
                close_all(fds)
        except ChannelClosed:
            self._poll.close(life.channel)
            life.kill()  # deaf, if not dead
            return False
        except ValueError as error:  # a PacketError, or what cannot be sent on
            life.kill(("error", f"the owner was sent nonsense: {error}"))
        return True

    def _act(self, life: Life, items: tuple[Any, ...], fds: list[int]) -> None:
        match items:
            case ("ready",):
                self._ready(life)
            case ("relay", str(name), int(incarnation), *body):
                to = self._lives.get(name)
                if to is not None and to.incarnation == incarnation and to.is_ready:
                    self._send(to, "relay", life.name, life.incarnation, *body, fds=fds)
            case ("start", str(name)) if name in self._cores:
                self._start(name)
            case ("kill", str(name), int(incarnation), reason):
                target = self._lives.get(name)
                if target is not None and target.incarnation == incarnation:
                    target.kill(reason)
            case ("fault", str(name), int(incarnation)) if name in self._cores:
                self._faults.append((time.monotonic(), name, incarnation, life.name, life.incarnation))
                self._tell_all("fault", *self._faults[-1])
            case ("retire", str(name), str(reason)) if name in self._cores and name != self._main:
                self._retire(name, reason)
            case ("rehome", str(name), int(incarnation), int(core), str(reason)):
                target = self._lives.get(name)
                if target is not None and target.incarnation == incarnation:
                    self._move(name, core)
                    target.kill(("rehomed", reason))
            case ("moved", int(core)):
                self._move(life.name, core)
            case ("result", bytes(packed)) if life.name == self._main:
                self._result = packed
                self._stop()
            case ("error", str(text)):
                life.error = text
            case _:
                raise PacketError(f"{items!r:.200}")

    def _retire(self, name: str, reason: str) -> None:
        if name in self._retired:
            return
        self._retired[name] = self._cores[name], reason
        self._names_to_begin = [other for other in self._names_to_begin if other != name]
        self._never_ready.discard(name)
        self._explain_faults(name)
        self._tell_all("retired", name, *self._retired[name])
        target = self._lives.get(name)
        if target is not None:
            target.kill(("retired", reason))

    def _move(self, name: str, core: int) -> None:
        self._cores[name] = core
        self._explain_faults(name)
        self._tell_all("moved", name)

    def _explain_faults(self, name: str) -> None:
        """Those of this name do not count any more, as in `serd.Serd.forget`."""
        self._faults = deque((fault for fault in self._faults if name not in fault), maxlen=MOST)

    # --- who looks into the system ---

    def _on_guest(self, mask: int) -> None:
        guest = self._listener.accept()
        if guest is not None:
            self._guests.append(guest)
            self._pass_guests_on()

    def _pass_guests_on(self) -> None:
        """To the node of main, if that is ready, or to another; or they wait for one."""
        ready = {life.name: life for life in self._ready_lives()}
        if not ready:
            return
        host = ready.get(self._main) or next(iter(ready.values()))
        guests, self._guests = self._guests, []
        for guest in guests:
            with guest:
                self._send(host, "attach", fds=[guest.fileno()])

    # --- the end ---

    def _on_interrupts(self, mask: int) -> None:
        self._interrupts.clear_bell()
        while self._heard < len(self._interrupts.came):
            self._heard += 1
            main = self._lives.get(self._main)
            if self._heard > 2 or (self._is_stopping and self._heard > 1):
                self._is_over = True
            elif main is not None and main.is_ready and not self._is_stopping:
                self._send(main, "interrupt", self._heard > 1)
            else:
                self._stop()

    def _fail(self, failure: NodeLost | StartError) -> None:
        if self._failure is None and self._result is None:
            self._failure = failure
        self._stop()

    def _stop(self) -> None:
        """The run is over: nodes that are not ready have nothing to end in order."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._poll.unregister(self._listener)
        self._listener.close()  # first: the sweeper ends with the forge
        self._close_forge()
        for life in self._ready_lives():
            self._send(life, "stop")
        self._poll.after(self._grace, self._give_up)

    def _give_up(self) -> None:
        self._is_over = True

    def _end(self) -> None:
        """Leave nothing behind."""
        self._is_stopping = True
        self._close_forge()
        for guest in self._guests:
            guest.close()
        for life in self._unreaped:
            life.kill()
        for life in list(self._unreaped):
            self._reap(life)
        patience = time.monotonic() + kernel.REAP_PATIENCE
        while self._groups and time.monotonic() < patience:
            self._reap_groups()
            time.sleep(kernel.REAP_PERIOD)
