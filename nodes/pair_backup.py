"""The backup of a process pair: it holds what the primary has committed, and takes over when that is dead.

Theory of operation. The primary has a process of its own node, `make`, start the backup with the whole state. The backup counts from the
moment when the primary says `$begin` behind it: one that did not hear that ends with the primary, so there is at most one to take over.
What it is sent that is no commit, requests of clients that know already that the primary is dead, waits until it is the primary.

Only death makes it take over. A connection can be lost without: then the primary has found another backup, or will, or its node is found
dead."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from beamlike import Down, Pid, monitor, process_flag, receive, self_pid, sleep, unpack
from beamlike.seam import current_process, format_reason, tell
from nodes.here import joined
from nodes.pair_directory import learn_of, table
from nodes.pair_ledger import Ledger, Operation
from nodes.pair_primary import Primary

LOOK_PERIOD: Final = 0.001  # seconds


async def make(primary: Pid, node: str, attempt: int, pair: tuple[Any, ...], snapshot: bytes) -> None:
    """A process of the primary's node that has a backup made, and tells it `("$made", attempt, pid)`, or why not."""
    try:
        backup = await joined().router.spawn_unchecked(current_process(), node, back_up, (self_pid(), primary, pair, snapshot))
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        tell(primary, ("$made", attempt, f"{type(error).__name__}: {error}"))
        return
    watch = monitor(backup)
    match await receive(lambda message: message == ("$ready", backup) or (type(message) is Down and message.ref == watch)):
        case ("$ready", _):
            tell(primary, ("$made", attempt, backup))
        case Down(_, _, reason):
            tell(primary, ("$made", attempt, format_reason(reason)))


async def back_up(maker: Pid, primary: Pid, pair: tuple[Any, ...], snapshot: bytes) -> None:
    """The process: a backup, and then perhaps a primary."""
    backup = Backup(primary, pair, snapshot)
    watch = monitor(primary)
    made = monitor(maker)
    tell(maker, ("$ready", self_pid()))
    if await backup.serve(watch, made):
        primary_now = await backup.take_over()
        await primary_now.run(backup.waiting)


class Backup:
    """See the module."""

    def __init__(self, primary: Pid, pair: tuple[Any, ...], snapshot: bytes) -> None:
        kind, self.name, self.unpaired, current_process().trap_exit = pair
        process_flag("label", f"backup of {self.name}")
        self.primary = primary
        self.server = kind()
        self.declares = hasattr(self.server, "apply_change")
        self.state, ledger = unpack(snapshot, functions=True)
        self.ledger = Ledger.restored(ledger)
        self._restore()
        self.epoch = 0  # 0: it does not count yet
        self.waiting: deque[Any] = deque()

    def _restore(self) -> None:
        vars(self.server).clear()
        vars(self.server).update(unpack(self.state, functions=True))

    async def serve(self, watch: Any, made: Any) -> bool:
        """Take what the primary sends, until it is dead. Is it our turn?"""
        while True:
            match message := await receive():
                case ("$commit", int(sequence), state, tuple(changes), tuple(operations)):
                    self._commit(sequence, state, changes, operations)
                case ("$left", int(sequence)):
                    self.ledger.left(sequence)
                case ("$begin", int(epoch)):
                    self.epoch = epoch
                case ("$ended",):
                    return False
                case Down(ref, _, reason) if ref == watch:
                    return self.epoch > 0 and (reason != "noconnection" or await self._is_dead(self.primary))
                case Down(ref, _, reason) if ref == made:
                    if reason != "normal" and not self.epoch:
                        return False
                case _:
                    self.waiting.append(message)

    async def _is_dead(self, primary: Pid) -> bool:
        """The connection to the primary is lost. Wait until its node is; unless the primary lives on, or had found another backup."""
        members = joined().router.members
        while members.get(primary.node) == primary.origin and not self._is_replaced():
            await sleep(LOOK_PERIOD)
        if not self._is_replaced():
            await learn_of(self.name)
        return not self._is_replaced()

    def _is_replaced(self) -> bool:
        entry = table.get(self.name)
        return entry is not None and entry.epoch > self.epoch

    def _commit(self, sequence: int, state: bytes | None, changes: tuple[Any, ...], operations: tuple[Operation, ...]) -> None:
        if sequence != self.ledger.sequence + 1:
            raise RuntimeError(f"{self.name}: commit {sequence} came after {self.ledger.sequence}")
        for change in changes:
            self.server.apply_change(change)
        if state is not None:
            self.state = state
            if self.declares:
                self._restore()
        self.ledger.commit(sequence, operations)

    async def take_over(self) -> Primary:
        """Become the primary."""
        if not self.declares:
            self._restore()
        primary = Primary(self.server, self.name, self.unpaired, self.ledger, self.epoch + 1, make)
        await primary.take_over()
        return primary
