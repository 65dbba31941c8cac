"""The primary of a process pair: a GenServer that answers nobody before its backup knows.

Theory of operation. A handler runs with its outputs held back (`pair_outbox`). Then one record goes to the backup, the *commit*: the state,
or the changes that the handler declared, and the operations. When it is in the ring to the backup's node the outputs leave: a node that
dies takes nothing with it that it had committed to a ring (M4), so nobody waits for an answer of the backup. Where the ring is full, or
broken off by the death of the backup, the outputs wait in `held`, in order. A primary without backup makes one before it does anything
else: it sends the whole state to another node, and the outputs that wait leave when that has it. Where there is no other node it goes on
alone, or waits.

A handler that raises is a *crash*. The backup is told what came of the request, nothing else of the handler is committed, and the process
ends; the backup takes over with the last committed state. So the call that it crashed upon fails with the reason, and all others are
executed. Alone, the pair ends with it. `Stop` ends the pair, as it ends a GenServer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, Final, Literal
from zlib import crc32

import caps
from beamlike import (
    IGNORE,
    NOREPLY,
    Call,
    Caller,
    Cast,
    Continue,
    Down,
    GenServer,
    Pid,
    Ref,
    Stop,
    cancel_timer,
    demonitor,
    monitor,
    pack,
    process_flag,
    receive,
    self_pid,
    send_after,
    sleep,
)
from beamlike.seam import (
    EXITING,
    Control,
    Process,
    SystemRequest,
    Under,
    copy_value,
    current_process,
    error_reason,
    exit_own,
    is_refused_for_another,
    layers_of,
    limited_request,
    log,
    make_ref_of,
    now,
    permit_target,
    refusal,
    release_caller,
    set_outbox,
    start,
    tell,
    unwrapped,
)
from nodes import pair_directory
from nodes.here import joined
from nodes.pair_directory import Entry
from nodes.pair_held import IN_RING, ROOM_PERIOD, Held, Output, Place
from nodes.pair_ledger import OPEN, Failed, KindOfPair, Ledger, Operation, StopPair, WatchPair
from nodes.pair_outbox import Outbox

Unpaired = Literal["answer", "wait"]
PATIENCE: Final = 1.0  # seconds for a node to make a backup before another one is asked
AGAIN: Final = 1.0  # seconds until nodes that could not are asked again

logger = logging.getLogger("beamlike.nodes")


class Superseded(Exception):  # noqa: N818 - not an error: another process has become the primary
    """There is a newer primary of this name."""


class Primary:
    """See the module. `run` it in the process that it is. `maker` is `pair_backup.make`."""

    def __init__(
        self, server: GenServer, name: str, unpaired: Unpaired, ledger: Ledger, epoch: int, maker: Callable[..., Coroutine[Any, Any, None]]
    ) -> None:
        process_flag("label", f"pair {name}")
        self.server = server
        self.maker = maker
        self.name = name
        self.unpaired = unpaired
        self.ledger = ledger
        self.epoch = epoch
        self.process: Process = current_process()
        self.me = self_pid()
        self.control = Control(server, self.process, None)
        self.outbox = Outbox(self.me, ledger)
        self.declares = hasattr(server, "apply_change")
        self.state = b""  # as it was committed last; not kept where changes are declared
        self.backup: Pid | None = None
        self.backup_watch: Ref | None = None
        self.attempts = 0
        self.held = Held(name, self.me, ledger)
        self.clients: dict[Pid, Ref] = {}  # with an outcome in the ledger: our monitors
        self.armed: dict[Ref, Ref] = {}  # of the ledger's timers: those of this node
        self.orphans: set[tuple[Pid, int]] = set()  # requests, by client and serial, that only a process of the dead primary could answer
        self.farewell: list[tuple[Caller, Any]] = []  # answers that leave when the pair has ended

    # --- how it begins ---

    async def begin(self, args: tuple[Any, ...]) -> Any:
        """Of a new pair: `init`. IGNORE if it declined; else `pair` is next."""
        set_outbox(self.process, self.outbox)
        try:
            outcome = await self.server.init(*args)
            if outcome is IGNORE:
                return IGNORE
            await self._go_on(outcome, "init")
        finally:
            set_outbox(self.process, None)
        self.state = self._packed()
        self._commit(())
        return None

    async def take_over(self) -> None:
        """Of a pair whose primary is dead, in the process that was its backup."""
        self.state = self._packed()
        for client in self.ledger.outcomes:
            self.clients[client] = monitor(client)
        self._find_orphans()
        for ref in self.ledger.timers:
            self._arm(ref)
        for sequence, sends in self.ledger.unsent:
            self.held.waiting.append((sequence, IN_RING, [("send", destination, message) for _, destination, message in sends]))
        self._tell_all()
        await self.pair()

    def _tell_all(self) -> None:
        if not pair_directory.tell_all(self._entry()):
            raise self._superseded()

    def _superseded(self) -> Superseded:
        """Our backup ends with us."""
        if self.backup is not None:
            tell(self.backup, ("$ended",))
        return Superseded(f"pair {self.name!r}: {pair_directory.table[self.name].primary} is its primary too, and newer: {self.me} ends")

    def _find_orphans(self) -> None:
        """An answer may come later from the state or a message to the server itself: wherever the pair knows the Ref of the request."""
        waiting = [
            (client, serial) for client, known in self.ledger.outcomes.items() for serial, outcome in known.items() if outcome == OPEN
        ]
        if waiting:
            known = pack((vars(self.server), self.ledger.snapshot()))
            self.orphans = {(client, serial) for client, serial in waiting if pack(make_ref_of(client.origin, serial)) not in known}

    def _entry(self) -> Entry:
        return Entry(self.name, self.me, self.backup, self.epoch)

    # --- the loop ---

    async def run(self, waiting: deque[Any]) -> None:
        """Take messages, those that wait first, until something is raised."""
        try:
            while True:
                message = waiting.popleft() if waiting else await receive()
                self.control.extra.last_message = message
                if self.control.is_watched:
                    self.control.saw(message)
                await self._handle(message)
        except BaseException as failure:
            await self._ended(failure)
            raise

    async def _handle(self, message: Any) -> None:
        match message:
            case Call(caller, ("$pair", int(floor), request)):
                await self._asked(caller, floor, request)
            case Call(_, SystemRequest(name)):
                await self._system(message, name)
            case Call(caller, request):  # by the pid of this process, which knows nothing of pairs: it fails when this node does
                try:
                    answer = await self._handled(self.server.handle_call(request, caller), "handle_call", caller)
                except Exception as failure:
                    self._note_farewell(caller, failure)
                    raise
                if answer is NOREPLY:
                    release_caller(caller)
                else:
                    self.outbox.replies.append((caller, copy_value(answer)))
                self._commit(())
            case Cast(request):
                await self._handled(self.server.handle_cast(request), "handle_cast")
                self._commit(())
            case ("$due", Ref() as ref):
                await self._due(ref)
            case ("$room",):
                self.held.is_looking = False
                self.held.release(self.backup)
            case ("$node_up", _) | ("$again",):
                if self.backup is None:
                    await self.pair()
            case ("$made", *_):
                self._dismiss(message)
            case Down(ref, _, _) if ref == self.backup_watch:
                self.backup = self.backup_watch = None
                await self.pair()
            case Down(ref, Pid() as client, reason) if self.clients.get(client) == ref:
                if reason == "noconnection" and joined().router.is_reachable(client.origin):  # only the connection: it may ask again
                    self.clients[client] = monitor(client)
                else:
                    del self.clients[client]
                    self._commit((("forget", client),))
            case ("$superseded",):
                raise self._superseded()
            case _:
                await self._handled(self.server.handle_info(message), "handle_info")
                self._commit(())

    async def _system(self, message: Call, name: str) -> None:
        """A system message. Nobody has declared what `replace_state` changes."""
        if name == "replace_state":
            set_outbox(self.process, self.outbox)
        try:
            await self.control.handle(message)
        finally:
            set_outbox(self.process, None)
        if self.declares:
            _, replies, _ = self.outbox.take()
            self._ship(pack(vars(self.server)), (), (), replies)
        else:
            self._commit(())

    async def _asked(self, caller: Caller, floor: int, request: Any) -> None:
        """A request by `call_pair`, perhaps not for the first time."""
        client, serial = caller.pid, caller.ref.serial
        outcome = self.ledger.known(client, serial)
        if outcome is not None:
            if outcome == OPEN and (client, serial) in self.orphans and type(request) is not WatchPair:
                outcome = ("ok", Failed("noconnection"))
            if outcome != OPEN:
                self._leave(0, IN_RING, [("reply", caller, outcome[1])])
            return
        if client not in self.clients:
            self.clients[client] = monitor(client)
        if type(request) is StopPair:
            layers = self.control.extra.last_message.layers
            if not caps.permits(layers, "exit", self.name):
                refused = Failed(("excluded", f"an exclusion of the caller's refuses it to end the pair {self.name!r}"))
                self.outbox.replies.append((caller, refused))
                self._commit((("done", client, serial, floor, ("ok", refused)),), is_answer=True)
                return
            self.farewell.append((caller, True))
            raise Stop(request.reason)
        if type(request) is WatchPair:
            self._commit((("done", client, serial, floor, OPEN),))
            return
        if type(request) is KindOfPair:
            self._leave(0, IN_RING, [("reply", caller, f"{type(self.server).__module__}:{type(self.server).__qualname__}")])
            return
        try:
            answer = await self._handled(self.server.handle_call(request, caller), "handle_call", caller)
            if answer is NOREPLY:
                release_caller(caller)
                self._commit((("done", client, serial, floor, OPEN),))
            else:
                answer = copy_value(answer)
                self.outbox.replies.append((caller, answer))
                self._commit((("done", client, serial, floor, ("ok", answer)),), is_answer=True)
        except Exception as failure:
            if is_refused_for_another(self.process, failure):  # by the exclusions of who asked, of a guarded pair
                self.outbox.take()
                refused = Failed(("refused", refusal(failure)))
                self.outbox.replies.append((caller, refused))
                self._commit((("done", client, serial, floor, ("ok", refused)),), is_answer=True)
                return
            if isinstance(unwrapped(failure), Stop):
                self._note_farewell(caller, failure)
            else:
                self.outbox.take()
                self._ship(None, (), (("done", client, serial, floor, ("ok", Failed(error_reason(failure)))),))
            raise

    def _note_farewell(self, caller: Caller, failure: BaseException) -> None:
        """What `Stop` answers is said when the end is certain."""
        stop = unwrapped(failure)
        if isinstance(stop, Stop) and stop.reply is not NOREPLY:
            self.farewell.append((caller, stop.reply))

    async def _handled(self, handler: Any, name: str, caller: Caller | None = None) -> Any:
        """What a handler answers, which is awaited with its outputs held back."""
        set_outbox(self.process, self.outbox)
        message = self.control.extra.last_message
        under: Any = nullcontext()
        if self.server.guarded and type(message) in (Call, Cast) and message.layers:
            under = Under(self.process, message.layers)
        try:
            with under:
                outcome = await handler
                if caller is None or type(outcome) is Continue:
                    await self._go_on(outcome, name)
                    return None if caller is None else outcome.reply
                return outcome
        finally:
            set_outbox(self.process, None)

    async def _go_on(self, outcome: Any, name: str) -> None:
        while outcome is not None:
            self.server._check(outcome, name)
            outcome = await self.server.handle_continue(outcome.value)
            name = "handle_continue"

    # --- timers ---

    def _arm(self, ref: Ref) -> None:
        self.armed[ref] = send_after(max(0.0, self.ledger.timers[ref][0] - now()), self.me, ("$due", ref))

    def _disarm(self, ref: Ref) -> None:
        armed = self.armed.pop(ref, None)
        if armed is not None:
            cancel_timer(armed)

    async def _due(self, ref: Ref) -> None:
        self.armed.pop(ref, None)
        timer = self.ledger.timers.get(ref)
        if timer is None:
            return
        _, destination, message, period = timer
        fired: Operation = ("timer", ref, period, destination, message, period) if period else ("no_timer", ref)
        if destination is not None:
            try:
                permit_target(self.process, "send", destination)
            except caps.CapabilityError:  # it was tightened since
                self._commit((fired,))
            else:
                message = limited_request(message, layers_of(self.process), destination)
                self._commit((fired, ("send", destination, message)))
            return
        self.control.extra.last_message = message
        try:
            if type(message) is Cast:
                await self._handled(self.server.handle_cast(message.request), "handle_cast")
            else:
                await self._handled(self.server.handle_info(message), "handle_info")
            if ("no_timer", ref) in self.outbox.operations:  # the handler cancelled it
                fired = ("no_timer", ref)
            self._commit((fired,))
        except Exception as failure:
            if not isinstance(unwrapped(failure), Stop):  # or the next primary would crash upon it as well
                self.outbox.take()
                self._ship(None, (), (fired,))
            raise

    # --- the commit ---

    def _packed(self) -> bytes:
        return b"" if self.declares else pack(vars(self.server))

    def _commit(self, operations: tuple[Operation, ...], *, is_answer: bool = False) -> None:
        """A handler is through: have the backup know, then let its outputs leave.

        `is_answer`: the operation is the outcome of the request that was handled. If nothing else has happened there is nothing to know:
        should the answer get lost, the request may as well be executed again.
        """
        state = self._packed()
        state_changed = state != self.state
        more, replies, changes = self.outbox.take()
        if is_answer and not more and not changes and not state_changed:
            self._leave(0, IN_RING, [("reply", *each) for each in replies])
            return
        self.state = state
        self._ship(state if state_changed else None, tuple(changes), (*more, *operations), replies)

    def _ship(
        self,
        state: bytes | None,
        changes: tuple[Any, ...],
        operations: tuple[Operation, ...],
        replies: list[tuple[Caller, Any]] | None = None,
    ) -> None:
        if state is None and not changes and not operations and not replies:
            return
        ledger = self.ledger
        sequence = ledger.sequence + 1
        place = IN_RING
        if self.backup is not None:
            place = self.held.ship(self.backup, ("$commit", sequence, state, changes, operations))
        ledger.commit(sequence, operations)
        for operation in operations:
            if operation[0] == "timer":
                self._disarm(operation[1])
                self._arm(operation[1])
            elif operation[0] == "no_timer":
                self._disarm(operation[1])
        leaving: list[Output] = [operation for operation in operations if operation[0] == "send"]
        self._leave(sequence, place, [*leaving, *[("reply", *each) for each in replies or ()]])

    def _leave(self, sequence: int, place: Place, outputs: list[Output]) -> None:
        self.held.leave(sequence, place, outputs, self.backup)

    # --- the backup ---

    async def pair(self) -> None:
        """Make a backup on another node, as soon as one can be had; then everything that is held may leave."""
        pair_directory.look_for_node(self.me, False)
        tried: set[str] = set()
        while self.backup is None:
            nodes = [node for node in joined().membership.members if node not in tried]
            if nodes:
                node = max(nodes, key=lambda each: crc32(f"{self.name} {each}".encode()))
                if not await self._make_backup(node):
                    tried.add(node)
                continue
            pair_directory.look_for_node(self.me, True)
            if tried:
                send_after(AGAIN, self.me, ("$again",))
            if self.unpaired == "answer":
                break
            await receive(lambda message: type(message) is tuple and message[:1] in (("$node_up",), ("$again",)))
            tried.clear()
        if self.backup is None:
            self.epoch += 1
        self._tell_all()
        self.held.release_all(self.backup)

    async def _make_backup(self, node: str) -> bool:
        """Did it come about? Then it has the state, and all that follows will reach it."""
        self.attempts += 1
        attempt = self.attempts
        pair = (type(self.server), self.name, self.unpaired, self.process.trap_exit)
        state = pack(vars(self.server)) if self.declares else self.state
        maker = start(self.maker, (self.me, node, attempt, pair, pack((state, self.ledger.snapshot()))), parent=self.process, runs="").pid
        watch = monitor(maker)

        def is_outcome(message: Any) -> bool:
            return (type(message) is tuple and message[:2] == ("$made", attempt)) or (type(message) is Down and message.ref == watch)

        try:
            message = await receive(is_outcome, timeout=PATIENCE)
        except TimeoutError:
            exit_own(self.process, maker, "kill")
            log(logger, logging.WARNING, "%s: %s did not make a backup in %s s", self.name, node, PATIENCE)
            return False
        finally:
            demonitor(watch, flush=True)
        if type(message) is Down:
            return False
        _, _, backup = message
        if type(backup) is not Pid:
            log(logger, logging.INFO, "%s: %s could not make a backup: %s", self.name, node, backup)
            return False
        self.backup, self.backup_watch = backup, monitor(backup)
        self.epoch += 1  # for each backup that may have begun
        place = self.held.ship(backup, ("$begin", self.epoch))
        while self.held.may_come(place, backup):
            await sleep(ROOM_PERIOD)
        if not self.held.is_in_ring(place, backup):
            demonitor(self.backup_watch, flush=True)
            self.backup = self.backup_watch = None
            return False
        return True

    def _dismiss(self, message: tuple[Any, ...]) -> None:
        """A backup that was made too late."""
        if type(message[2]) is Pid:
            tell(message[2], ("$ended",))

    # --- how it ends ---

    async def _ended(self, failure: BaseException) -> None:
        if self.process.state == EXITING:
            return  # from outside: the backup takes over
        stop = unwrapped(failure)
        if isinstance(stop, Superseded):
            return
        is_over = isinstance(stop, Stop) or self.backup is None
        try:
            set_outbox(self.process, self.outbox)
            await self.server.terminate(stop.reason if isinstance(stop, Stop) else error_reason(failure))
        finally:
            set_outbox(self.process, None)
            operations, replies, _ = self.outbox.take()
            if is_over:
                if self.backup is not None:
                    place = self.held.ship(self.backup, ("$ended",))
                    while self.held.may_come(place, self.backup):
                        await sleep(ROOM_PERIOD)
                reason = stop.reason if isinstance(stop, Stop) else error_reason(failure)
                pair_directory.tell_all(Entry(self.name, None, None, self.epoch + 1, reason))
                self.held.release_all(None)
                sends: list[Output] = [operation for operation in operations if operation[0] == "send"]
                self._leave(0, IN_RING, [*sends, *[("reply", *each) for each in (*replies, *self.farewell)]])
