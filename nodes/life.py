"""The life of a node: what runs in its OS process, from its fork to its end."""

from __future__ import annotations

import logging
import mmap
import os
import sys
from functools import partial
from typing import Any

import trio

from beamlike import ExitError, application, pack, unpack
from beamlike.seam import Node, error_reason, format_reason, install, log, on_release, start_pairs_by
from nodes import here
from nodes.attached import ATTACH, attach
from nodes.control import ChannelClosed, PacketError
from nodes.heartbeat import SIZE, Heart, Watch
from nodes.homing import Home, core_of
from nodes.mailboxes import Mailboxes
from nodes.member import Member, named, send_all
from nodes.membership import Member as Other
from nodes.membership import Membership
from nodes.pair_keeper import start_kept
from nodes.placement import place
from nodes.retirement import Retirement
from nodes.router import Router
from nodes.serd import Fault, Serd
from nodes.services import start_services

SETTLED = "settled"
OWNER_GONE = 1  # the exit status of a node whose owner has ended


logger = logging.getLogger("beamlike.nodes")


def live(member: Member) -> None:
    """The body of every node."""
    here.is_node = True
    here.given_descriptors = member.given
    _set_up(member.settings)
    trio.run(Life(member).run, restrict_keyboard_interrupt_to_checkpoints=True)


def _set_up(settings: dict[str, Any]) -> None:
    """Make this interpreter like the owner's: arguments, logging, and the program loaded under its own name."""
    sys.argv[:] = settings["argv"]
    if settings.get("setup"):
        function, args = settings["setup"]
        named(function)(*args)
    if settings.get("file"):
        application.load_module(settings["file"])
    named(settings["start"][0])  # so that its records are known, and the first placement does not wait for it


class Life:
    """See the module."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.settings = member.settings
        self.channel = member.channel
        self.node = Node(member.name, preempt=self.settings.get("preempt", True), seed=None, incarnation=member.incarnation)
        self.mailboxes = Mailboxes(self.node, self.channel, polls=self.settings["polls"])
        self.router = Router(self.node.id, self.mailboxes.reach, self.node.stepper.suspend)
        self.mailboxes.router = self.router
        self.membership = Membership(self.node.id, tuple(self.settings["roster"]), self.router, self.mailboxes.close, self.channel.send)
        self.watch = Watch(self.membership, self.settings["hang_timeout"], self._kill)
        self.retirement = Retirement(
            self.membership,
            Serd(*self.settings["fault_limit"]),
            self.settings["main"],
            self.settings["on_main_lost"] == "restart",
            self.settings["cores"],
            lambda name: core_of(self.page_of(name)),
            self.channel.send,
        )
        self.heart: Heart | None = None  # from when the owner has announced this life, as is
        self.home: Home | None = None  # this,
        self.started = 0.0  # this, Unix time,
        self.restarts = 0  # and this, how many lives of this name have ended before
        self.changed = trio.Event()  # set at each change of the membership, and replaced
        self.stopped = trio.Event()

    async def run(self) -> None:
        """Until main has ended, or the owner says so."""
        is_main = self.node.id.name == self.settings["main"]
        async with self.node.open():
            install(self.router)
            here.life = self
            self.router.place = place
            start_pairs_by(start_kept)
            on_release.extend((self.router.released, self.membership.released))
            trio.lowlevel.spawn_system_task(self._listen)
            trio.lowlevel.spawn_system_task(self.mailboxes.answer_bell)
            self.node.join(self.mailboxes)
            while self.heart is None:
                await self.changed.wait()
            await start_services()
            self.channel.send("ready")
            self.channel.send("relay", self.node.id.name, self.node.id.incarnation, SETTLED)
            if is_main:
                await self._run_main()
            else:
                await self.stopped.wait()
        if is_main:
            self.channel.send("result", self._outcome())
            while self.channel.wants_write:
                await trio.lowlevel.wait_writable(self.channel.fileno())
                self.channel.flush()
            await self.stopped.wait()

    async def _run_main(self) -> None:
        await self._until_complete()
        function, args = self.settings["start"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_main)
            await self.node.until_main_ends(named(function), unpack(args, functions=True))
            nursery.cancel_scope.cancel()

    async def _until_complete(self) -> None:
        """Until nobody is missing, or the run is over."""
        while self.membership.missing() and not self.stopped.is_set():
            await self.changed.wait()

    async def _stay_home(self) -> None:
        """A system task. If the core is not there at the start, another is chosen by those of all others."""
        await self._until_complete()
        assert self.home is not None
        await self.home.keep()

    async def _stop_main(self) -> None:
        await self.stopped.wait()
        self.node.interrupt(at_once=False)

    def _outcome(self) -> bytes:
        try:
            return pack(("ok", self.node.main.result()))
        except ExitError as error:
            return pack(("exit", str(error), error.reason))
        except BaseException as error:  # noqa: BLE001 - whatever main raised is told to who waits for it
            return pack(("error", error_reason(error)))

    def _kill(self, member: Other, reason: tuple[object, ...]) -> None:
        self.channel.send("kill", member.id.name, member.id.incarnation, reason)

    def page_of(self, name: str) -> mmap.mmap:
        """The page of a node that is up."""
        if name != self.node.id.name:
            return self.membership.members[name].page
        if self.heart is None:
            raise RuntimeError("this node has not been announced by the owner yet, and has no page")
        return self.heart.page

    # --- what the owner says ---

    async def _listen(self) -> None:
        try:
            while True:
                if self.channel.wants_write:
                    self.channel.flush()
                while (packet := self.channel.receive()) is not None:
                    (kind, *items), fds = packet
                    getattr(self, f"_{kind}")(*items, fds=fds)
                    self.changed.set()
                    self.changed = trio.Event()
                await trio.lowlevel.wait_readable(self.channel.fileno())
        except ChannelClosed:
            os._exit(OWNER_GONE)
        except (PacketError, OSError) as error:  # what it said is lost: this node does not know any more who is there
            self.channel.send("error", f"what the owner said cannot be taken: {error}")
            send_all(self.channel)
            os._exit(1)

    def _up(self, name: str, incarnation: int, pid: int, started: float, restarts: int, fds: list[int]) -> None:
        pidfd, memfd = fds
        if name != self.node.id.name:
            self.membership.up(name, incarnation, pid, started, restarts, pidfd, mmap.mmap(memfd, SIZE))
            os.close(memfd)
            return
        os.close(pidfd)
        self.started, self.restarts = started, restarts
        self.heart = Heart(memfd, self.settings["hang_timeout"])
        self.home = Home(self.member.core, self.heart.page, self.membership, partial(self.channel.send, "moved"))
        trio.lowlevel.spawn_system_task(self.heart.beat)
        trio.lowlevel.spawn_system_task(self.watch.keep)

    def _down(self, name: str, incarnation: int, reason: Any, fds: list[int]) -> None:
        self.membership.down(name, incarnation, reason)
        if self.membership.conductor() == self.node.id and not self.stopped.is_set():  # one says it
            log(logger, logging.WARNING, "%s was lost: %s", name, format_reason(reason))
        self.retirement.judge()  # it may have been the conductor

    def _fault(self, time: float, writer: str, _: int, reader: str, __: int, fds: list[int]) -> None:
        self.retirement.fault(Fault(time, writer, reader))

    def _retired(self, name: str, core: int, reason: str, fds: list[int]) -> None:
        self.retirement.retired(name, core, reason)

    def _moved(self, name: str, fds: list[int]) -> None:
        self.retirement.moved(name)

    def _relay(self, name: str, incarnation: int, what: str, *body: Any, fds: list[int]) -> None:
        if what == SETTLED:  # our own, which the owner sends back after it has announced all who are ready
            self.membership.settle()
            trio.lowlevel.spawn_system_task(self._stay_home)
        elif what == ATTACH:
            attach(fds[0], body)
        else:
            (number,) = body
            self.mailboxes.offered(name, incarnation, number, fds)

    def _attach(self, fds: list[int]) -> None:
        attach(fds[0])

    def _interrupt(self, at_once: bool, fds: list[int]) -> None:
        self.node.interrupt(at_once=at_once)

    def _stop(self, fds: list[int]) -> None:
        self.stopped.set()
