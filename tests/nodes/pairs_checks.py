"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Any
from zlib import crc32

from in_system import conductor, do_at, kill, lose_connection, others, until_down, until_up

from beamlike import (
    NOREPLY,
    BadNameError,
    Caller,
    CallError,
    CallTimeoutError,
    ChildSpec,
    Down,
    Exit,
    GenServer,
    Pid,
    Ref,
    Stop,
    Supervisor,
    call,
    cancel_timer,
    cast,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info,
    process_info_at,
    processes,
    receive,
    record,
    reply,
    self_pid,
    send,
    send_after,
    send_interval,
    sleep,
    spawn,
    spawn_at,
    spawn_link,
    system,
    whereis,
)
from beamlike.seam import NodeId, now
from nodes import kill_node, list_nodes, monitor_node, pair_directory, pair_keeper
from nodes.here import joined
from nodes.pair_backup import Backup
from nodes.pair_directory import Entry
from nodes.pair_held import Held
from nodes.pair_starting import start_pair
from nodes.pairs import Pair, call_pair, cast_pair, change, stop_pair, where_is_pair

SYSTEM_NODES = 4


@record
class Weird:
    """In the state of a server."""

    value: Any


class Account(GenServer):
    """The whole of its state is shipped."""

    async def init(self, start: Any = 0) -> None:
        if start == "fail":
            raise ValueError("no such account")
        self.balance = start
        self.log: list[Any] = [Weird({1: ("a", b"b", 2**70)})]
        self.asked: list[Caller] = []
        self.timer: Ref | None = None

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("add", amount):
                self.balance += amount
                self.log.append(amount)
                return self.balance
            case "get":
                return self.balance
            case "all":
                return dict(vars(self))
            case "crash":
                self.balance = -1
                raise ValueError("a bug")
            case ("stop", reason):
                self.balance = -1
                raise Stop(reason, "bye")
            case "later":
                self.asked.append(caller)
                return NOREPLY
            case ("answer", value):
                for each in self.asked:
                    reply(each, value)
                count = len(self.asked)
                self.asked.clear()
                return count
            case ("tell", who, message):
                self.balance += 1
                send(who, message)
                return self.balance
            case ("tell in trio", who, message):
                self.balance += 1
                async with io():
                    send(who, message)
                return self.balance
            case ("tell and hang", who, message):
                send(who, message)
                await sleep(1000)
            case ("tell yourself", message):
                send(self_pid(), message)
                self.balance += 1
                return self.balance
            case ("after", seconds, message):
                self.timer = send_after(seconds, self_pid(), message)
                return None
            case "cancel":
                assert self.timer is not None
                return cancel_timer(self.timer)
            case ("spin", seconds):
                end = now() + seconds
                while now() < end:
                    pass
                return None
        raise AssertionError(request)

    async def handle_cast(self, request: Any) -> None:
        match request:
            case ("add", amount):
                self.balance += amount
            case "crash":
                raise ValueError("a bug")

    async def handle_info(self, message: Any) -> None:
        match message:
            case ("earn", who, amount):
                self.balance += amount
                send(who, ("earned", self.balance))


class Unsendable(GenServer):
    """Its state cannot be shipped."""

    async def init(self) -> None:
        self.file = open("/dev/null")  # noqa: SIM115, ASYNC230


class Store(GenServer):
    """Only its changes are shipped."""

    async def init(self) -> None:
        self.values: dict[str, Any] = {}
        self.writes: dict[str, int] = {}

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("put", str(key), value):
                change(self, (key, value))
                return value
            case ("get", str(key)):
                return self.values.get(key)
            case "all":
                return self.values, self.writes
        raise AssertionError(request)

    def apply_change(self, put: tuple[str, Any]) -> None:
        key, value = put
        self.values[key] = value
        self.writes[key] = self.writes.get(key, 0) + 1


class Odd(GenServer):
    """Does what a server should not, and tells `who` at once, before the backup knows."""

    async def init(self, who: Pid, waits: str = "") -> None:
        self.who = who
        self.waits = waits
        self.count = 0
        self.items: list[int] = []
        if waits == "in init":
            await self.wait()

    async def wait(self) -> None:
        self.tell("waits")
        await receive(lambda message: message == "go on")

    def tell(self, what: str) -> None:
        spawn(_tell, self.who, (what, self_pid()))

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        self.tell(request)
        match request:
            case "unsendable answer":
                self.count += 1
                return lambda: self.count
            case "unsendable state":
                self.count = lambda: 0  # type: ignore[assignment]
            case "poison yourself":
                send(self_pid(), "poison")
            case "poison yourself often":
                send_interval(TICK, self_pid(), "poison")
            case "answered by another":
                self.count += 1
                return NOREPLY
            case "count":
                self.count += 1
                return self.count
            case "count slowly":
                self.count += 1
                await self.wait()
                return self.count
            case "add item":
                self.items.append(len(self.items) + 1)
                return self.items
            case ("ask", str(name)):
                return await call_pair(name, "get")
            case "stop":
                raise Stop("normal", "bye")
        return None

    async def handle_info(self, message: Any) -> None:
        self.tell(message)
        raise ValueError(message)

    async def terminate(self, reason: Any) -> None:
        if self.waits == "in terminate":
            await self.wait()


TICK = 0.05  # seconds


async def _tell(who: Pid, message: Any) -> None:
    send(who, message)


async def told(what: str) -> Pid:
    """Which process is the next to tell this."""
    pid = (await receive(lambda message: type(message) is tuple and message[0] == what, timeout=5))[1]
    assert isinstance(pid, Pid)
    return pid


async def failure(kind: type[Exception], asked: Any) -> Any:
    """What it raises, of this kind."""
    try:
        answer = await asked
    except kind as error:
        return error
    raise AssertionError(f"it has answered {answer!r}")


async def silence(match: Any, seconds: float) -> None:
    """Nothing such comes."""
    await failure(TimeoutError, receive(match=match, timeout=seconds))


async def start_on(node: str, kind: Any, name: str, *args: Any, **options: Any) -> Pair:
    """A pair whose primary is on this node."""
    return await do_at(node, _start, kind, name, args, options)  # type: ignore[no-any-return]


async def _start(kind: Any, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Pair:
    return await start_pair(kind, *args, name=name, **options)


def halves(pair: Pair) -> tuple[Pid, Pid]:
    """Primary and backup, as known here."""
    place = where_is_pair(pair)
    assert place is not None
    assert place[1] is not None, place
    return place[0], place[1]


async def until_paired(pair: Pair, but: Collection[Pid] = ()) -> tuple[Pid, Pid]:
    """Wait until the pair has both halves, neither of them among `but`, which are dead."""
    while True:
        place = where_is_pair(pair)
        if place is not None and place[1] is not None and not {*place}.intersection(but):
            return place[0], place[1]
        await sleep(0.002)


async def lose(half: Pid, *, node: bool = True) -> None:
    """Kill the node of a half; or only its process, as must do where its node is this one."""
    if node and half.node != self_pid().node:
        await kill(half.node)
    else:
        exit(half, "kill")


async def lose_primary(pair: Pair, *, node: bool = True) -> None:
    """Kill the node of the primary, or only its process, and wait until the pair has two halves again."""
    primary, _ = await until_paired(pair)
    await lose(primary, node=node)
    await until_paired(pair, but=[primary])


# --- first, while this node is not the conductor: names ---


async def check_of_two_that_begin_with_one_name_as_the_conductor_dies_one_stays() -> None:
    eldest, first, second = others()
    assert eldest == conductor()  # else another check has killed too much before
    await spawn_at(second, _start_odd, self_pid(), "twins", "in init")
    early = await told("waits")
    await kill(eldest)
    await spawn_at(first, _start_odd, self_pid(), "twins", "")
    assert (await told("started")).node == first
    send(early, "go on")
    assert (await told("BadNameError")).node == second  # though it is the younger, which wins where both are told to all
    primary, _ = await until_paired(Pair("twins"))
    assert primary.node == first
    await stop_pair("twins")


async def _start_odd(who: Pid, name: str, waits: str) -> None:
    try:
        await start_pair(Odd, who, waits, name=name, timeout=20)
    except BadNameError:
        send(who, ("BadNameError", self_pid()))
    else:
        send(who, ("started", self_pid()))


# --- what is promised ---


async def check_state_of_any_value_survives_the_loss_of_either_half() -> None:
    pair = await start_on(others()[0], Account, "survives", 5)
    before = await call_pair(pair, ("add", 3)) and await call_pair(pair, "all")
    primary, backup = await until_paired(pair)
    assert primary.node == others()[0]
    assert backup.node != primary.node
    await lose(primary)
    assert await call_pair(pair, "all") == before
    assert (await until_paired(pair, but=[primary]))[0] == backup
    await call_pair(pair, ("add", 1))
    await until_up(SYSTEM_NODES)
    primary, backup = halves(pair)
    await lose(backup)
    assert await call_pair(pair, ("add", 1)) == 10
    await until_paired(pair, but=[backup])
    assert await call_pair(pair, "get") == 10
    assert where_is_pair(pair)[0] == primary  # type: ignore[index]
    await stop_pair(pair)


async def check_changes_that_handlers_declare_survive() -> None:
    pair = await start_on(others()[0], Store, "changes")
    for turn in range(4):
        for number in range(50):
            await call_pair(pair, ("put", f"{turn}.{number}", (turn, number)))
        await lose_primary(pair, node=turn % 2 == 0)
        await until_up(SYSTEM_NODES)
    values, writes = await call_pair(pair, "all")
    assert values == {f"{turn}.{number}": (turn, number) for turn in range(4) for number in range(50)}
    assert set(writes.values()) == {1}
    await stop_pair(pair)


async def check_a_call_in_flight_when_the_primary_dies_is_executed_once() -> None:
    pair = await start_on(others()[0], Account, "in flight", 0)
    for turn in range(4):
        primary, _ = await until_paired(pair)
        before = await call_pair(pair, "get")
        for _ in range(20):
            spawn(_add_and_tell, self_pid(), pair)
        await sleep(0)
        await lose(primary, node=turn % 2 == 0)
        answers = sorted([await receive(match=int, timeout=5) for _ in range(20)])
        assert answers == list(range(before + 1, before + 21)), answers
        await until_paired(pair, but=[primary])
        await until_up(SYSTEM_NODES)
    await stop_pair(pair)


async def _add_and_tell(who: Pid, pair: Pair) -> None:
    send(who, await call_pair(pair, ("add", 1)))


async def check_a_retry_is_answered_from_what_is_known_and_what_is_known_is_trimmed() -> None:
    pair = await start_on(others()[0], Account, "known", 0)
    for number in range(100):
        assert await call_pair(pair, ("add", 1)) == number + 1
    client = await spawn_at(others()[1], _call_once, self_pid(), pair)
    assert await receive(timeout=5) == 101
    for _ in range(2):
        primary, _ = await until_paired(pair)
        assert await do_at(primary.node, ledger_of, primary) == {self_pid(): 1, client: 1}
        await lose_primary(pair, node=False)
    exit(client, "kill")
    primary, _ = await until_paired(pair)
    while await do_at(primary.node, ledger_of, primary) != {self_pid(): 1}:
        await sleep(0.002)
    await stop_pair(pair)


async def ledger_of(primary: Pid) -> dict[Pid, int]:
    """How many outcomes of each client the primary knows. Called on its node."""
    return {client: len(outcomes) for client, outcomes in (await outcomes_of(primary)).items()}


async def outcomes_of(primary: Pid) -> dict[Pid, list[Any]]:
    """The outcomes of each client that the primary knows. Called on its node."""
    frame = primary.process.coro
    while frame is not None:
        ledger = getattr(frame.cr_frame.f_locals.get("self"), "ledger", None)
        if ledger is not None:
            return {client: list(outcomes.values()) for client, outcomes in ledger.outcomes.items()}
        frame = frame.cr_await
    raise AssertionError(primary)


async def _call_once(who: Pid, pair: Pair) -> None:
    send(who, await call_pair(pair, ("add", 1)))
    await receive(lambda message: False)


async def check_what_a_handler_sends_is_held_back_until_it_is_through() -> None:
    pair = await start_on(others()[0], Account, "held", 0)
    me = self_pid()
    await failure(CallTimeoutError, call_pair(pair, ("tell and hang", me, "early"), timeout=0.1))
    primary, _ = halves(pair)
    exit(primary, "kill")
    await until_paired(pair, but=[primary])
    for request in ("tell", "tell in trio"):
        count = await call_pair(pair, (request, me, (request, "told")))
        assert await receive(timeout=5) == (request, "told")
    assert count == 2
    await silence(None, 0.05)  # "early", or one of the others again
    await stop_pair(pair)


async def check_sends_arrive_once_and_in_order_around_deaths_between_handlers() -> None:
    pair = await start_on(others()[0], Account, "sends", 0)
    for turn in range(3):
        for number in range(20):
            await call_pair(pair, ("tell", self_pid(), (turn, number)))
        await lose_primary(pair)
        await until_up(SYSTEM_NODES)
    came: list[Any] = []
    while len(came) < 60:
        came.append(await receive(match=(int, int), timeout=5))
    assert came == [(turn, number) for turn in range(3) for number in range(20)]
    await stop_pair(pair)


async def check_timers_and_messages_to_itself_survive() -> None:
    pair = await start_on(others()[0], Account, "timers", 0)
    await call_pair(pair, ("after", 0.5, ("earn", self_pid(), 7)))
    await lose_primary(pair)
    assert await receive(match=("earned", int), timeout=5) == ("earned", 7)
    await call_pair(pair, ("after", 0.5, ("earn", self_pid(), 7)))
    await lose_primary(pair, node=False)
    left = await call_pair(pair, "cancel")
    assert 0 < left <= 0.5
    assert await call_pair(pair, "cancel") is None
    assert await call_pair(pair, ("tell yourself", ("earn", self_pid(), 1))) == 8
    assert await receive(match=("earned", int), timeout=5) == ("earned", 9)
    await silence(("earned", int), 0.6)
    await stop_pair(pair)


async def check_an_answer_may_come_later_and_from_another_primary() -> None:
    pair = await start_on(others()[0], Account, "later", 0)
    for _ in range(3):
        spawn(_ask_later, self_pid(), pair)
    while len((await call_pair(pair, "all"))["asked"]) < 3:
        await sleep(0.002)
    await lose_primary(pair)
    assert await call_pair(pair, ("answer", "at last")) == 3
    assert [await receive(match=str, timeout=5) for _ in range(3)] == ["at last"] * 3  # and not that the node is up again
    await stop_pair(pair)


async def _ask_later(who: Pid, pair: Pair) -> None:
    send(who, await call_pair(pair, "later"))


async def check_a_crash_fails_the_call_it_was_upon_and_no_other() -> None:
    pair = await start_on(others()[0], Account, "crashes", 5)
    for _ in range(3):
        primary, _ = await until_paired(pair)
        for _ in range(5):
            spawn(_add_and_tell, self_pid(), pair)
        error = await failure(CallError, call_pair(pair, "crash"))
        assert error.reason[0] == ("ValueError", "a bug"), error.reason
        for _ in range(5):
            await receive(match=int, timeout=5)
        await until_paired(pair, but=[primary])
    assert await call_pair(pair, "get") == 20
    cast_pair(pair, "crash")
    cast_pair("crashes", ("add", 1))  # perhaps lost with the process
    primary, _ = await until_paired(pair, but=[primary])
    assert await call_pair(pair, "get") in (20, 21)
    await stop_pair(pair)


async def check_stop_ends_the_pair_and_says_with_what() -> None:
    for request, answered in ((("stop", "normal"), "bye"), (("stop", ("shutdown", "done")), "bye")):
        pair = await start_on(others()[0], Account, "stops", 5)
        refs = [monitor(half) for half in halves(pair)]
        assert await call_pair(pair, request) == answered
        downs = [await receive(lambda message, ref=ref: type(message) is Down and message.ref == ref, timeout=5) for ref in refs]
        assert [down.reason for down in downs] == [request[1], "normal"]
        error = await failure(CallError, call_pair(pair, "get"))
        assert error.reason == request[1], error.reason


async def check_names_are_unique_and_free_when_the_pair_has_ended() -> None:
    names = others()
    pair = await start_on(names[0], Account, "unique", 5)
    for node in list_nodes():
        error = await failure(AssertionError, start_on(node, Account, "unique", 7))
        assert str(error).startswith("BadNameError"), error
    assert await call_pair("unique", "get") == 5
    await stop_pair(pair)
    again = await start_on(names[1], Account, "unique", 7)
    assert again == pair
    assert await call_pair(pair, "get") == 7
    await stop_pair(pair)
    for turn in range(5):
        for node in list_nodes():
            await spawn_at(node, _try_to_start, self_pid(), f"wanted{turn}")
        outcomes = [await receive(match=str, timeout=10) for _ in list_nodes()]
        assert outcomes.count("started") == 1, outcomes
        await stop_pair(f"wanted{turn}")


async def _try_to_start(who: Pid, name: str) -> None:
    try:
        await start_pair(Account, name=name)
        send(who, "started")
    except BadNameError:
        send(who, "taken")


async def check_the_starter_gets_what_init_raised_and_the_name_is_free() -> None:
    error = await failure(ValueError, start_pair(Account, "fail", name="fails"))
    assert str(error) == "no such account"
    await stop_pair(await start_pair(Account, name="fails"))


async def check_a_pair_that_there_is_not_is_noproc() -> None:
    begun = now()
    error = await failure(CallError, call_pair("nobody", 1))
    assert error.reason == "noproc"
    assert now() - begun < 2


async def check_a_pair_of_which_both_nodes_died_is_noproc_and_nothing_hangs() -> None:
    pair = await start_elsewhere(Account, 5)
    primary, backup = halves(pair)
    for half in (primary, backup):
        os.kill(joined().membership.members[half.node].pid, signal.SIGSTOP)
    for half in (primary, backup):
        os.kill(joined().membership.members[half.node].pid, signal.SIGKILL)
    error = await failure(CallError, call_pair(pair, "get", timeout=10))
    assert error.reason == "noproc", error
    await until_up(SYSTEM_NODES)
    await start_on(others()[0], Account, pair.name, 6)
    assert await call_pair(pair, "get") == 6
    await stop_pair(pair)


async def check_a_new_half_that_is_killed_while_it_is_made_is_made_elsewhere() -> None:
    pair = await start_on(others()[0], Store, "anew")
    writer = spawn_link(_write_until_told, self_pid(), pair)
    in_the_middle = 0
    for turn, milliseconds in enumerate((0, 1, 2, 3, 4, 6, 8, 12, 16, 24)):
        await until_up(SYSTEM_NODES)
        place = await until_alive(pair)
        victim, survivor = place if turn % 2 else place[::-1]
        fresh = next_half(pair, place)
        await lose(victim)
        await sleep(milliseconds / 1000)
        in_the_middle += where_is_pair(pair) == place or halves_known(pair) < 2
        if fresh != self_pid().node:
            await kill(fresh)
        assert (await until_alive(pair))[0] == survivor
    assert in_the_middle > 0
    send(writer, ("over",))
    written = await receive(match=int, timeout=20)
    values, writes = await call_pair(pair, "all")
    assert values == {str(number): number for number in range(written)}
    assert set(writes.values()) == {1}
    await stop_pair(pair)


async def _write_until_told(who: Pid, pair: Pair) -> None:
    number = 0
    while True:
        assert await call_pair(pair, ("put", str(number), number), timeout=20) == number
        number += 1
        with suppress(TimeoutError):
            await receive(match=("over",), timeout=0.001)
            return send(who, number)


async def check_a_pair_whose_last_half_dies_while_it_makes_another_is_gone_and_leaves_nothing() -> None:
    pair = await start_elsewhere(Account, 5)
    place = halves(pair)
    first = place[0].node
    fresh = next_half(pair, place)
    assert self_pid().node not in (place[1].node, fresh)
    pid = joined().membership.members[fresh].pid
    os.kill(pid, signal.SIGSTOP)  # it is asked to make a half, and does not
    await kill(place[1].node)
    for _ in range(5):
        spawn(_fail, self_pid(), pair)
    await silence(("failed", str), 0.1)
    await kill(first)
    os.kill(pid, signal.SIGCONT)
    for _ in range(5):
        assert await receive(match=("failed", str), timeout=5) == ("failed", "noproc")
    await until_up(SYSTEM_NODES)
    while await do_at(fresh, count_backups):
        await sleep(0.002)
    await start_on(first, Account, pair.name, 6)
    assert await call_pair(pair, "get") == 6
    await stop_pair(pair)


async def _fail(who: Pid, pair: Pair) -> None:
    send(who, ("failed", (await failure(CallError, call_pair(pair, "get", timeout=10))).reason))


async def count_backups() -> int:
    """Of this node."""
    return sum(info.initial_call == "nodes.pair_backup:back_up" for info in map(process_info, processes()) if info is not None)


def halves_known(pair: Pair) -> int:
    return len([half for half in where_is_pair(pair) or () if half is not None and is_alive(half)])


async def until_alive(pair: Pair) -> tuple[Pid, Pid]:
    """Wait until the pair has two halves which both live."""
    while halves_known(pair) < 2:
        await sleep(0.002)
    return halves(pair)


def is_alive(half: Pid) -> bool:
    return half.process is not None if half.node == self_pid().node else joined().router.is_reachable(half.origin)


def next_half(pair: Pair, place: tuple[Pid, Pid]) -> str:
    """The node on which who survives makes the new half."""
    return max((node for node in list_nodes() if node not in (place[0].node, place[1].node)), key=lambda node: weight(pair.name, node))


def name_that_spares(node: str, first: str) -> str:
    """A name of a pair that has no half on `node` as long as there is another one, if its primary is on `first`."""
    nodes = [each for each in list_nodes() if each != first]
    return next(name for name in map(str, range(1000)) if min(nodes, key=lambda each: weight(name, each)) == node)


async def start_elsewhere(kind: Any, *args: Any) -> Pair:
    """A pair that has no half on this node, as long as there are others; the primary is on the eldest of those."""
    first = others()[0]
    pair = await start_on(first, kind, name_that_spares(self_pid().node, first), *args)
    await until_paired(pair)
    return pair


def weight(name: str, node: str) -> int:
    return crc32(f"{name} {node}".encode())


async def check_a_primary_that_was_stopped_answers_nobody_after_the_take_over() -> None:
    pair = await start_on(others()[0], Account, "stopped", 0)
    primary, backup = halves(pair)
    assert primary.node != self_pid().node
    pid = joined().membership.members[primary.node].pid
    await call_pair(pair, ("add", 1))
    os.kill(pid, signal.SIGSTOP)
    for _ in range(5):
        spawn(_add_and_tell, self_pid(), pair)
    await silence(int, 0.3)
    os.kill(pid, signal.SIGKILL)  # as who finds it hung does
    assert sorted([await receive(match=int, timeout=5) for _ in range(5)]) == [2, 3, 4, 5, 6]
    assert (await until_paired(pair, but=[primary]))[0] == backup
    await stop_pair(pair)


async def check_a_backup_that_is_stopped_costs_no_answer() -> None:
    pair = await start_elsewhere(Account, 0)
    primary, backup = halves(pair)
    pid = joined().membership.members[backup.node].pid
    os.kill(pid, signal.SIGSTOP)
    for number in range(50):  # they are in its ring
        assert await call_pair(pair, ("add", 1)) == number + 1
    exit(primary, "kill")
    os.kill(pid, signal.SIGCONT)
    assert await call_pair(pair, "get") == 50
    await stop_pair(pair)


async def check_nothing_leaves_while_the_ring_to_the_backup_is_full() -> None:
    pair = await start_elsewhere(Account, 0)
    primary, backup = halves(pair)
    pid = joined().membership.members[backup.node].pid
    os.kill(pid, signal.SIGSTOP)
    answered = 0
    try:
        while True:
            answered = await call_pair(pair, ("tell", self_pid(), b"x" * 20_000), timeout=0.3)
            assert answered < 1000
    except CallTimeoutError:
        pass
    os.kill(joined().membership.members[primary.node].pid, signal.SIGKILL)
    os.kill(pid, signal.SIGCONT)
    assert await call_pair(pair, "get") >= answered
    await stop_pair(pair)


async def check_a_large_state_is_handed_over() -> None:
    pair = await start_on(others()[0], Store, "large")
    for number in range(20):
        await call_pair(pair, ("put", str(number), bytes([number]) * 300_000))
    await lose_primary(pair)
    await lose_primary(pair, node=False)
    for number in range(20):
        assert await call_pair(pair, ("get", str(number))) == bytes([number]) * 300_000
    await stop_pair(pair)


async def check_a_handler_that_computes_does_not_stop_its_node() -> None:
    pair = await start_on(others()[0], Account, "spins", 0)
    primary, _ = halves(pair)
    spawn(_spin, self_pid(), pair)
    await sleep(0.1)
    for _ in range(5):
        assert await process_info_at(primary) is not None
        await do_at(primary.node, list_here)
    await silence("spun".__eq__, 0.0)  # it computes still
    await receive("spun".__eq__, timeout=20)
    await stop_pair(pair)


async def list_here() -> list[str]:
    return list_nodes()


async def _spin(who: Pid, pair: Pair) -> None:
    await call_pair(pair, ("spin", 3.0), timeout=20)
    send(who, "spun")


async def check_a_state_that_cannot_be_sent_is_refused_at_the_start() -> None:
    error = await failure(TypeError, start_pair(Unsendable, name="unsendable"))
    assert "file" in str(error), error


async def check_system_messages_work_and_a_replaced_state_is_at_the_backup() -> None:
    for kind in (Account, Store):
        pair = await start_on(others()[0], kind, "system")
        primary, _ = halves(pair)
        assert (await system.get_status(primary)).behaviour.endswith(kind.__qualname__)
        await system.replace_state(primary, replaced)
        await lose_primary(pair, node=False)
        assert (await system.get_state(halves(pair)[0]))["extra"] == 1
        await stop_pair(pair)


def replaced(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "extra": 1}


async def check_with_backup_true_a_supervisor_has_a_pair() -> None:
    process_flag("trap_exit", True)
    supervisor = await Supervisor.start_link([ChildSpec.of(Account, 5, name="kept", backup=True)], intensity=5)
    keeper = (await Supervisor.which_children(supervisor))[0].pid
    assert keeper is not None
    assert await call_pair("kept", ("add", 1)) == 6
    cast(keeper, ("add", 1))
    await lose_primary(Pair("kept"), node=False)
    assert await call_pair("kept", "get") == 7
    assert (await Supervisor.which_children(supervisor))[0].pid == keeper
    exit(keeper, "kill")  # it is started anew, and finds its pair
    while (await Supervisor.which_children(supervisor))[0].pid in (keeper, None):
        await sleep(0.002)
    assert await call_pair("kept", "get") == 7
    exit(supervisor, "shutdown")
    await receive(Exit, timeout=10)
    error = await failure(CallError, call_pair("kept", "get"))
    assert error.reason == "shutdown", error


async def check_the_keeper_ends_with_its_pair() -> None:
    process_flag("trap_exit", True)
    keeper = await Account.start_link(5, name="ends", backup=True)
    link(keeper)
    assert await call_pair("ends", ("stop", "because")) == "bye"
    assert await receive(Exit, timeout=5) == Exit(keeper, "because")


async def check_it_waits_or_answers_without_another_node() -> None:
    pairs = [await start_pair(Account, 0, name=unpaired, unpaired=unpaired) for unpaired in ("answer", "wait")]
    answers, waits = pairs
    membership = joined().membership
    restart_missing = membership.restart_missing
    membership.restart_missing = lambda: None  # type: ignore[method-assign] # this node is the conductor when the others are down
    try:
        await kill(*others())
        assert [await call_pair(answers, ("add", 1), timeout=10) for _ in range(100)] == list(range(1, 101))
        await failure(CallTimeoutError, call_pair(waits, ("add", 1), timeout=0.1))
        assert list_nodes() == [self_pid().node]
    finally:
        membership.restart_missing = restart_missing  # type: ignore[method-assign]
        restart_missing()
    assert [await call_pair(waits, ("add", 1), timeout=10) for _ in range(100)] == list(range(2, 102))
    await until_up(SYSTEM_NODES)
    for pair in pairs:
        await until_paired(pair)
        await stop_pair(pair)


# --- what servers do that they should not ---


async def check_what_cannot_be_sent_fails_the_call_and_is_executed_once() -> None:
    pair = await start_on(others()[0], Odd, "unsendables", self_pid())
    for request in ("unsendable answer", "unsendable state"):
        error = await failure(CallError, call_pair(pair, request))
        assert error.reason[0][0] == "TypeError" and "cannot send" in error.reason[0][1], error.reason
        await until_paired(pair, but=[await told(request)])
    await call_pair(pair, "count")  # all before it has been told
    await told("count")
    await silence(tuple, 0.0)
    await stop_pair(pair)


async def check_an_answer_that_is_kept_for_a_retry_is_what_was_answered() -> None:
    pair = await start_on(others()[0], Odd, "kept answers", self_pid())
    primary, _ = halves(pair)
    client = spawn(_add_item_and_stay, self_pid(), pair)
    await told("added")
    assert await call_pair(pair, "add item") == [1, 2]
    assert await do_at(primary.node, outcomes_of, primary) == {client: [("ok", [1])], self_pid(): [("ok", [1, 2])]}
    await stop_pair(pair)


async def _add_item_and_stay(who: Pid, pair: Pair) -> None:
    assert await call_pair(pair, "add item") == [1]
    send(who, ("added", self_pid()))
    await receive(lambda message: False)


async def check_a_message_to_itself_that_it_crashes_upon_is_handled_once() -> None:
    pair = await start_on(others()[0], Odd, "poisoned", self_pid())
    await call_pair(pair, "poison yourself")
    first = await told("poison")
    await until_paired(pair, but=[first])
    begun = now()
    await call_pair(pair, "poison yourself often")
    crashed = [await told("poison") for _ in range(3)]
    assert now() - begun >= 3 * TICK
    assert len({first, *crashed}) == 4, crashed
    await until_paired(pair, but=crashed)
    await stop_pair(pair, timeout=10)


async def check_a_stop_is_answered_when_the_pair_has_ended() -> None:
    pair = await start_elsewhere(Odd, self_pid(), "in terminate")
    spawn(_stop_and_tell, self_pid(), pair)
    primary = await told("waits")
    await kill(primary.node)
    backup = await told("waits")  # before anybody was told that it had ended
    assert backup != primary
    send(backup, "go on")
    await told("stopped")
    assert (await failure(CallError, call_pair(pair, "count"))).reason == "normal"


async def _stop_and_tell(who: Pid, pair: Pair) -> None:
    await stop_pair(pair, timeout=20)
    send(who, ("stopped", self_pid()))


async def check_stop_answers_who_called_the_pid_of_the_primary() -> None:
    pair = await start_on(others()[0], Odd, "by pid", self_pid())
    assert await call(halves(pair)[0], "stop") == "bye"


async def check_a_call_that_another_process_was_to_answer_fails_when_the_primary_dies() -> None:
    pair = await start_on(others()[0], Odd, "orphans", self_pid())
    spawn(_fail_upon, self_pid(), pair, "answered by another")
    primary = await told("answered by another")
    exit(primary, "kill")
    assert await receive(match=("failed", object), timeout=5) == ("failed", "noconnection")
    assert await call_pair(pair, "count") in (1, 2)  # 1: it was killed before it had committed
    await stop_pair(pair)


async def _fail_upon(who: Pid, pair: Pair, request: Any) -> None:
    send(who, ("failed", (await failure(CallError, call_pair(pair, request, timeout=None))).reason))


async def check_a_pair_may_ask_a_pair_of_which_its_node_knows_nothing() -> None:
    asked = await start_elsewhere(Account, 5)
    pair = await start_on(self_pid().node, Odd, "asks", self_pid())
    del pair_directory.table[asked.name]
    assert await call_pair(pair, ("ask", asked.name)) == 5
    for each in (pair, asked):
        await stop_pair(each)


# --- names, and what knows them ---


async def check_of_two_primaries_all_nodes_choose_the_same_and_the_other_ends() -> None:
    pair = await start_pair(Account, 5, name="two primaries")
    primary, backup = halves(pair)
    epoch = pair_directory.table[pair.name].epoch
    weaker, stronger = (Entry(pair.name, Pid(NodeId("n9@nowhere", incarnation), 1), None, epoch) for incarnation in (0, 10**9))
    refs = [monitor(half) for half in (primary, backup)]
    assert not pair_directory.learn(weaker)
    assert pair_directory.learn(stronger)
    for ref in refs:
        await receive(lambda message, ref=ref: type(message) is Down and message.ref == ref, timeout=5)
    assert where_is_pair(pair) == (stronger.primary, None)
    assert not pair_directory.learn(Entry(pair.name, primary, backup, epoch))
    pair_directory.tell_all(Entry(pair.name, None, None, epoch + 9, "normal"))


async def check_a_name_is_free_and_pairs_are_known_though_the_directory_was_killed() -> None:
    leads = conductor()
    first, second = [name for name in others() if name != leads][:2]
    claimer = await spawn_at(first, _start_odd, self_pid(), "claimed", "in init")
    early = await told("waits")
    pair = await start_on(second, Account, "told again", 5)
    await do_at(leads, until_known, pair.name)
    await do_at(leads, kill_directory, pair.name)
    exit(early, "kill")
    exit(claimer, "kill")
    while True:
        try:
            await start_on(second, Account, "claimed", 7)
        except AssertionError:  # the claim is there until the directory is told of the end
            await sleep(0.002)
        else:
            break
    await do_at(leads, until_known, pair.name)
    for name in ("claimed", pair.name):
        await stop_pair(name)


async def kill_directory(forgotten: str) -> None:
    """And have it come back without one of its entries, as if that had been told in between."""
    pid = whereis(pair_directory.NAME)
    assert pid is not None
    ref = monitor(pid)
    del pair_directory.table[forgotten]
    exit(pid, "kill")
    await receive(lambda message: type(message) is Down and message.ref == ref, timeout=5)


async def until_known(name: str) -> None:
    while name not in pair_directory.table:
        await sleep(0.002)


async def check_who_looks_for_a_node_is_forgotten_when_it_is_dead() -> None:
    living, dead = spawn(_stay), spawn(_stay)
    ref = monitor(dead)
    exit(dead, "kill")
    await receive(lambda message: type(message) is Down and message.ref == ref, timeout=5)
    for pid in (living, dead):
        pair_directory.look_for_node(pid, wanted=True)
    pair_directory._welcome(others()[0])
    assert living in pair_directory._lonely
    assert dead not in pair_directory._lonely
    pair_directory.look_for_node(living, wanted=False)


async def _stay() -> None:
    await receive(lambda message: False)


async def check_a_keeper_finds_its_pair_whose_primary_has_just_died() -> None:
    pair = await start_elsewhere(Account, 5)
    primary, _ = halves(pair)
    os.kill(joined().membership.members[primary.node].pid, signal.SIGKILL)
    process_flag("trap_exit", True)
    keeper = await Account.start_link(5, name=pair.name, backup=True)
    exit(keeper, "shutdown")
    assert await receive(Exit, timeout=5) == Exit(keeper, "shutdown")
    assert (await failure(CallError, call_pair(pair, "get"))).reason == "shutdown"


async def check_a_keeper_ends_when_its_pair_has() -> None:
    process_flag("trap_exit", True)
    ask = vars(pair_keeper)["ask_pair"]
    vars(pair_keeper)["ask_pair"] = partial(_ask_soon, ask)  # its patience, if it had any
    try:
        keeper = await Odd.start_link(self_pid(), "in terminate", name="ends slowly", backup=True)
        exit(keeper, "shutdown")
        primary = await told("waits")
        await silence(Exit, 0.1)
        send(primary, "go on")
        assert await receive(Exit, timeout=5) == Exit(keeper, "shutdown")
        assert where_is_pair("ends slowly") is None
    finally:
        vars(pair_keeper)["ask_pair"] = ask


async def _ask_soon(ask: Any, pair: str, request: Any, timeout: float | None = 0.02) -> Any:
    return await ask(pair, request, timeout)


# --- connections that are lost between nodes that live ---


async def check_a_call_is_executed_once_when_the_connection_to_the_primary_is_lost() -> None:
    pair = await start_elsewhere(Odd, self_pid())
    primary, _ = halves(pair)
    for number in range(1, 6):
        spawn(_count_slowly, self_pid(), pair)
        assert await told("waits") == primary
        await lose_connection(self_pid().node, primary.node)
        send(primary, "go on")
        assert await receive(match=("counted", int), timeout=5) == ("counted", number)
    assert await call_pair(pair, "count") == 6
    assert halves(pair)[0] == primary
    await stop_pair(pair)


async def _count_slowly(who: Pid, pair: Pair) -> None:
    send(who, ("counted", await call_pair(pair, "count slowly", timeout=10)))


async def check_a_backup_that_was_replaced_while_the_connection_was_lost_does_not_take_over() -> None:
    pair = await start_elsewhere(Account, 0)
    primary, backup = halves(pair)
    pids = {half: joined().membership.members[half.node].pid for half in (primary, backup)}
    os.kill(pids[backup], signal.SIGSTOP)
    await lose_connection(primary.node, backup.node)
    for number in range(5):
        assert await call_pair(pair, ("add", 1), timeout=10) == number + 1
    _, second = await until_paired(pair, but=[backup])
    os.kill(pids[primary], signal.SIGKILL)
    monitor_node(primary.node)
    await until_down(primary.node)
    ref = monitor(backup)
    os.kill(pids[backup], signal.SIGCONT)
    await receive(lambda message: type(message) is Down and message.ref == ref, timeout=5)
    assert await call_pair(pair, ("add", 1)) == 6
    assert (await until_paired(pair, but=[primary, backup]))[0] == second
    await stop_pair(pair)


async def check_an_old_backup_asks_all_nodes_whether_it_was_replaced() -> None:
    pair = await start_elsewhere(Account, 0)
    old = object.__new__(Backup)
    old.name, old.epoch = pair.name, pair_directory.table[pair.name].epoch - 1
    dead = Pid(NodeId("n9@nowhere", 1), 1)
    del pair_directory.table[pair.name]
    assert not await old._is_dead(dead)
    old.name = "of which nobody knows"
    assert await old._is_dead(dead)
    await stop_pair(pair)


async def check_sends_of_a_primary_that_died_before_they_left_arrive_once() -> None:
    pair = await start_elsewhere(Account, 0)
    primary, _ = halves(pair)
    await do_at(primary.node, die_at_the_next_send)
    assert await call_pair(pair, ("tell", self_pid(), "told"), timeout=10) == 1
    assert await receive(timeout=5) == "told"
    await until_paired(pair, but=[primary])
    await silence(None, 0.0)
    await stop_pair(pair)


async def die_at_the_next_send() -> None:
    """Whatever pair of this node it is: then its commit is in the ring."""
    Held._send = lambda self, destination, message: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


async def check_no_acknowledged_write_is_lost_and_none_is_executed_twice_under_kills() -> None:
    await _fuzz(1, clients=6, writes=350)


async def check_nor_with_other_kills() -> None:
    await _fuzz(2, clients=6, writes=350)


async def _fuzz(seed: int, clients: int, writes: int) -> None:
    rng = random.Random(seed)
    pair = await start_on(rng.choice(list_nodes()), Store, f"fuzz{seed}")
    for client in range(clients):
        spawn(_write, self_pid(), pair, client, writes)
    killed = {"primary": 0, "backup": 0, "other": 0}
    dead: set[Pid] = set()
    finished = 0
    while finished < clients:
        try:
            failures = (await receive(match=("wrote", tuple), timeout=rng.uniform(0.1, 0.3)))[1]
        except TimeoutError:
            await _kill_one(rng, pair, killed, dead)
        else:
            assert failures == (), failures
            finished += 1
    values, written = await call_pair(pair, "all")
    assert values == {f"{client}.{number}": number for client in range(clients) for number in range(writes)}
    assert set(written.values()) == {1}
    assert killed["primary"] > 0, killed
    assert killed["backup"] > 0, killed
    await until_up(SYSTEM_NODES)
    await stop_pair(pair)


async def _kill_one(rng: random.Random, pair: Pair, killed: dict[str, int], dead: set[Pid]) -> None:
    primary, backup = await until_paired(pair, but=dead)  # both halves at a time are too much
    victim = rng.choice([primary, backup, None])
    if victim is not None:
        dead.add(victim)
        killed["primary" if victim is primary else "backup"] += 1
        if victim.node == self_pid().node:
            exit(victim, "kill")
            return
    names = [name for name in others() if name not in (primary.node, backup.node)] if victim is None else [victim.node]
    if names:
        killed["other"] += victim is None
        with suppress(ValueError):  # it is down already
            kill_node(rng.choice(names))


async def _write(who: Pid, pair: Pair, client: int, writes: int) -> None:
    failures = []
    for number in range(writes):
        try:
            assert await call_pair(pair, ("put", f"{client}.{number}", number), timeout=20) == number
        except CallError as error:
            failures.append((number, str(error)))
        await sleep(rng_pause(client, number))
    send(who, ("wrote", tuple(failures)))


def rng_pause(client: int, number: int) -> float:
    """So that the writes last for a few kills on a fast machine, too."""
    return 0.01 if (client + number) % 3 == 0 else 0.0
