"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from in_system import do_at, kill, others, until_up

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
    cancel_timer,
    cast,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info_at,
    receive,
    record,
    reply,
    self_pid,
    send,
    send_after,
    sleep,
    spawn,
    spawn_at,
    system,
)
from beamlike.seam import now
from nodes import kill_node, list_nodes
from nodes.here import joined
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
    frame = primary.process.coro
    while frame is not None:
        ledger = getattr(frame.cr_frame.f_locals.get("self"), "ledger", None)
        if ledger is not None:
            return {client: len(outcomes) for client, outcomes in ledger.outcomes.items()}
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
    assert [await receive(timeout=5) for _ in range(3)] == ["at last"] * 3
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
    pair = await start_on(others()[0], Account, "both", 5)
    primary, backup = halves(pair)
    if self_pid().node == backup.node:  # the conductor's choice: not here
        await lose_primary(pair)
        await until_up(SYSTEM_NODES)
        primary, backup = await until_paired(pair)
    if self_pid().node in (primary.node, backup.node):
        await stop_pair(pair)
        return
    for half in (primary, backup):
        os.kill(joined().membership.members[half.node].pid, signal.SIGSTOP)
    for half in (primary, backup):
        os.kill(joined().membership.members[half.node].pid, signal.SIGKILL)
    error = await failure(CallError, call_pair(pair, "get", timeout=10))
    assert error.reason == "noproc", error
    await until_up(SYSTEM_NODES)
    await start_on(others()[0], Account, "both", 6)
    assert await call_pair(pair, "get") == 6
    await stop_pair(pair)


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
    pair = await start_on(others()[0], Account, "slow", 0)
    primary, backup = halves(pair)
    if self_pid().node != backup.node:
        pid = joined().membership.members[backup.node].pid
        os.kill(pid, signal.SIGSTOP)
        for number in range(50):  # they are in its ring
            assert await call_pair(pair, ("add", 1)) == number + 1
        exit(primary, "kill")
        os.kill(pid, signal.SIGCONT)
        assert await call_pair(pair, "get") == 50
    await stop_pair(pair)


async def check_nothing_leaves_while_the_ring_to_the_backup_is_full() -> None:
    pair = await start_on(others()[0], Account, "full", 0)
    primary, backup = halves(pair)
    if self_pid().node in (primary.node, backup.node):
        await stop_pair(pair)
        return
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
    spawn(_spin, pair)
    await sleep(0.1)
    begun = now()
    for _ in range(5):
        assert await process_info_at(primary) is not None
        await do_at(primary.node, list_here)
    assert now() - begun < 0.8
    await stop_pair(pair)


async def list_here() -> list[str]:
    return list_nodes()


async def _spin(pair: Pair) -> None:
    await call_pair(pair, ("spin", 1.0))


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
    for unpaired in ("answer", "wait"):
        pair = await start_pair(Account, 0, name=unpaired, unpaired=unpaired)
        assert halves(pair)[0].node == self_pid().node
        names = others()
        for name in names:
            kill_node(name)
        answered = []
        for _ in range(200):
            answered.append(await call_pair(pair, ("add", 1), timeout=10))
        assert answered == list(range(1, 201))
        await until_up(SYSTEM_NODES)
        await until_paired(pair)
        await stop_pair(pair)


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
