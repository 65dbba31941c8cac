"""The checks of test_remote_messages.py: the rules M1–M10 between nodes."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Any
from zoneinfo import ZoneInfo

from prints import print_of
from puppets import PATIENCE, kill, make, make_again, node, receive_now

from beamlike import (
    Call,
    CallError,
    CallTimeoutError,
    Down,
    Exit,
    GenServer,
    Mailbox,
    Pid,
    call,
    cast,
    exit,
    io,
    link,
    make_ref,
    monitor,
    process_flag,
    process_info,
    process_info_at,
    receive,
    record,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_at,
    spawn_monitor,
    unlink,
)
from nodes.here import joined
from nodes.placement import spawn_monitor_at

MIB = 1 << 20


# --- M1 ------------------------------------------------------------------------------------------------------------------


async def numbered_sender(to: Pid, count: int, seed: int) -> None:
    """Numbered messages of all lengths: in one record, in fragments, in segments; among them links and monitors."""
    rng = random.Random(seed)
    for number in range(count):
        if rng.random() < 0.1:
            link(to)
        if rng.random() < 0.1:
            monitor(to)
        if rng.random() < 0.1:
            unlink(to)
        length = rng.choice([0, 10, 1000, 20_000, 33_000, 50_000, 65_535, 65_536, 70_000, 300_000])
        send(to, (number, b"x" * length))
    unlink(to)
    send(to, "done")
    await receive(lambda message: message == "end", PATIENCE)


async def numbered_receiver(boss: Pid, count: int, pause_at: int) -> None:
    process_flag("trap_exit", True)
    for number in range(count):
        if number == pause_at:  # so that much waits
            await sleep(0.05)
        got, content = await receive(lambda message: type(message) is tuple, PATIENCE)
        assert got == number, (got, number)
        assert content == b"x" * len(content)
    assert await receive(lambda message: not isinstance(message, (Exit, Down)), PATIENCE) == "done"
    send(boss, "in order")


async def check_m1_order_holds_for_messages_of_all_lengths(one: int, other: int, seed: int) -> None:
    count = 300
    pid, ref = await spawn_monitor_at(node(other), numbered_receiver, self_pid(), count, 20)
    await spawn_at(node(one), numbered_sender, pid, count, seed)
    assert await receive(lambda message: message == "in order" or isinstance(message, Down), PATIENCE) == "in order"
    assert (await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)).reason == "normal"


async def check_m1_order_holds_for_all_signals_together() -> None:
    for size in (0, 40_000, 100_000):
        for _ in range(10):
            other = await make(2)
            ref = monitor(other.pid)
            send(other.pid, b"x" * size)
            exit(other.pid, ("shutdown", "after the message"))
            send(other.pid, ("send back", self_pid(), "too late"))
            down = await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
            assert down.reason == ("shutdown", "after the message") == await other.ended()


async def check_m1_order_holds_while_the_other_node_does_not_read() -> None:
    other = await make(2)
    process_flag("trap_exit", True)
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        for number in range(1000):  # more than the rings take, and less than what a sender is suspended for
            send(other.pid, (number, b"x" * (40_000 if number % 200 == 0 else 70_000 if number % 200 == 100 else 10)))
        link(other.pid)
        ref = monitor(other.pid)
        send(other.pid, ("end", ("shutdown", "all there")))
    finally:
        os.kill(os_pid, signal.SIGCONT)
    both = [
        await receive(lambda message: isinstance(message, Exit) or (isinstance(message, Down) and message.ref == ref), PATIENCE)
        for _ in range(2)
    ]
    assert {type(each) for each in both} == {Exit, Down}
    assert {each.reason for each in both} == {("shutdown", "all there")}


async def os_pid_of(who: Pid, ref: Any) -> None:
    send(who, (ref, os.getpid()))


async def at(number: int, fn: Any, *args: Any) -> Any:
    """What `fn` tells from there."""
    ref = make_ref()
    await spawn_at(node(number), fn, self_pid(), ref, *args)
    return (await receive(lambda message: type(message) is tuple and message[0] == ref, PATIENCE))[1]


# --- M2 ------------------------------------------------------------------------------------------------------------------


async def check_m2_send_to_a_dead_pid_or_a_name_nobody_has_is_dropped_in_silence() -> None:
    gone, other = await make(2), await make(2)
    await gone.end("normal")
    send(gone.pid, "lost")
    send(("nobody", node(2)), "lost")
    send(("nobody", "nowhere@at.all"), "lost")
    cast(gone.pid, "lost")
    send(other.pid, "here")
    assert await other.seen() == ("here",)
    named = await make(2, name="somebody")
    send(("somebody", node(2)), "here")
    assert await named.seen() == ("here",)


# --- M4 ------------------------------------------------------------------------------------------------------------------


async def last_words(to: Pid, count: int, length: int) -> None:
    for number in range(count):
        send(to, (number, b"x" * length))
    os.kill(os.getpid(), signal.SIGKILL)


async def check_m4_what_a_node_that_dies_had_committed_comes_before_noconnection(number: int, length: int, count: int) -> None:
    words, ref = await spawn_monitor_at(node(number), last_words, self_pid(), count, length)
    got = []
    while not isinstance(message := await receive(lambda message: type(message) is tuple or message.ref == ref, PATIENCE), Down):
        got.append(message)
    assert message == Down(ref, words, "noconnection")
    assert got == [(index, b"x" * length) for index in range(len(got))]
    assert count * (length + 40) > MIB // 10 or len(got) == count, len(got)  # else the mailbox may have been full
    assert not await receive_now(lambda message: type(message) is tuple)


async def check_m4_also_at_first_contact() -> None:
    """n3 speaks to nobody before; its first words may be all it ever says."""
    await kill(3)
    await make_again(3)
    await check_m4_what_a_node_that_dies_had_committed_comes_before_noconnection(3, 10, 50)


# --- M5 ------------------------------------------------------------------------------------------------------------------


async def keeper_of_calls(boss: Pid) -> None:
    """Answers a call when it is told to, twice."""
    match await receive(Call, PATIENCE):
        case Call(caller, request):
            send(boss, ("called", request))
            await receive(lambda message: message == "answer", PATIENCE)
            reply(caller, "late")
            reply(caller, "later")
            send(boss, "answered")
    await receive(lambda message: message == "end", PATIENCE)


async def check_m5_late_reply_to_a_call_that_timed_out_is_dropped() -> None:
    server = await spawn_at(node(2), keeper_of_calls, self_pid())
    try:
        await call(server, "please", timeout=0.01)
    except CallTimeoutError:
        pass
    else:
        raise AssertionError("it was answered")
    assert process_info(self_pid()).monitors == ()  # type: ignore[union-attr]
    assert await receive(timeout=PATIENCE) == ("called", "please")
    send(server, "answer")
    assert await receive(timeout=PATIENCE) == "answered"
    assert await process_info_at(server) is not None
    await nothing_comes()
    await nothing_is_held(2)


async def check_m5_reply_that_has_come_before_the_caller_looks_is_dropped_when_the_call_is_over() -> None:
    """The reply comes to the node while the caller computes beyond its timeout."""
    server = await spawn_at(node(2), keeper_of_calls, self_pid())
    caller, ref = spawn_monitor(impatient, server)
    assert await receive(timeout=PATIENCE) == ("called", "please")
    exit(caller, "kill")
    assert (await receive(Down, PATIENCE)).ref == ref
    send(server, "answer")
    assert await receive(timeout=PATIENCE) == "answered"
    await process_info_at(server)
    await nothing_comes()
    await nothing_is_held(2)


async def impatient(server: Pid) -> None:
    await call(server, "please", timeout=None)


async def nothing_comes() -> None:
    try:
        message = await receive(timeout=0)
    except TimeoutError:
        return
    raise AssertionError(message)


async def nothing_is_held(number: int) -> None:
    """Neither node remembers a watch, for the other, that a process of this check would need."""
    me = self_pid()
    peer = joined().router.node(node(number))
    assert peer is not None
    mine = {ref: who for ref, who in peer.watching.items() if (who if type(who) is Pid else who.process.pid) == me}
    assert mine == {}, mine
    counted = await at(number, watched_count, me)
    assert counted == 0, counted


async def watched_count(who: Pid, ref: Any, watcher: Pid) -> None:
    peer = joined().router.peer(watcher.origin)
    assert peer is not None
    calls = [serial for serial, process in peer.watched.items() if watcher in (process.monitored_by or {}).values()]
    send(who, (ref, len(calls) + len(peer.put_off)))


# --- M6 ------------------------------------------------------------------------------------------------------------------


async def check_m6_pid_of_a_node_that_was_restarted_reaches_nobody() -> None:
    await kill(2)
    old = [await make_again(2) for _ in range(20)]
    await kill(2)
    for each in old:
        assert await each.ended() == "noconnection"
    new = [await make_again(2) for _ in range(40)]
    assert {each.pid.serial for each in old} & {each.pid.serial for each in new}, "the serials are given again"
    process_flag("trap_exit", True)
    for each in old:
        send(each.pid, "for the dead")
        exit(each.pid, "kill")
        cast(each.pid, "for the dead")
        link(each.pid)
        assert await receive(timeout=PATIENCE) == Exit(each.pid, "noconnection")
        ref = monitor(each.pid)
        assert await receive(timeout=PATIENCE) == Down(ref, each.pid, "noconnection")
        try:
            await call(each.pid, "for the dead")
        except CallError as error:
            assert error.reason == "noconnection"
        assert await process_info_at(each.pid) is None
        unlink(each.pid)
    for each in new:
        assert await each.seen() == ()
        assert await each.links() == set()


# --- M7 ------------------------------------------------------------------------------------------------------------------


@record
class Point:
    x: Any
    y: Any


@record(frozen=False)
class Account:
    owner: Any
    entries: Any


@record
class Colour(Enum):
    RED = "r"


@record
class Level(IntEnum):
    LOW = 1


@record
class Access(Flag):
    READ = 1
    WRITE = 2


VALUES: list[Any] = [
    None, True, False, 0, -1, 127, 128, -129, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**200, 1.5, -0.0, math.nan,
    math.inf, complex(-0.0, math.nan), "", "text", "\ud800", "a\0b", b"", b"\0\xff", bytearray(b"x"), (), [], {}, set(), frozenset(),
    (1, [2, {3: (4,)}], {5}, frozenset({6})), {True: "bool"}, {1.0: "float"}, {None: 1, b"": 2, "": 3}, {(1, (2,)): [3]}, {2**70: 1},
    Point(1, [2]), Account("me", [1, (2,)]), {Point(1, 2): Point((), None)}, Colour.RED, Level.LOW, Access.READ | Access.WRITE, Access(0),
    Decimal("1.50"), Decimal("-0"), datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")), date(1, 1, 1),
    datetime(2024, 1, 1, tzinfo=UTC), time(1, 2, 3, tzinfo=timezone(timedelta(hours=1), "x")), timedelta(-1, 2, 3),
    len, math.sin, Point, list(range(20_000)), b"x" * 40_000, b"x" * 70_000, "é" * 300_000, Exit, Down,
    ("nested", (Colour.RED, [Level.LOW])),
]  # fmt: skip


async def check_m7_every_kind_of_value_arrives_equal_types_included(number: int) -> None:
    other, third = await make(number), await make(3)
    await at(number, os_pid_of)  # so that it has imported the module of these records
    values = [
        *VALUES,
        self_pid(),
        other.pid,
        third.pid,
        [other.pid],
        {third.pid: self_pid()},
        make_ref(),
        await other.do("make_ref"),
        {make_ref(): 1},
    ]
    for value in values:
        send(other.pid, ("send back", self_pid(), ("back", value)))
        try:
            kind, came = await receive(timeout=PATIENCE)
        except TimeoutError:
            raise AssertionError(f"{value!r:.100} did not come back") from None
        assert (kind, print_of(came)) == ("back", print_of(value)), (value, came)
    assert await call(await spawn_at(node(number), answers_with_itself, len(values)), values[-3]) == values[-3]
    for value in values[:-3]:
        server = await spawn_at(node(number), answers_with_itself, 1)
        came = await call(server, value)
        assert print_of(came) == print_of(value), (value, came)


async def answers_with_itself(times: int) -> None:
    for _ in range(times):
        message = await receive(Call, PATIENCE)
        reply(message.caller, message.request)


async def check_m7_pid_that_came_back_is_reached_at_home() -> None:
    other = await make(2)
    send(other.pid, ("send back", self_pid(), {"me": self_pid(), "you": other.pid}))
    came = await receive(timeout=PATIENCE)
    send(came["me"], "to myself")
    assert await receive(timeout=0) == "to myself"
    send(came["you"], "to you")
    assert await other.seen() == ("to you",)


# --- M8 ------------------------------------------------------------------------------------------------------------------


class Plain:
    """Not registered."""


async def check_m8_what_cannot_be_sent_is_a_type_error_in_the_sender_that_names_the_part(number: int) -> None:
    other = await make(number)
    process_flag("trap_exit", True)
    link(other.pid)
    server = await spawn_at(node(number), answers_with_itself, 1)
    for bad, named in ((lambda: 1, "lambda"), (Plain(), "Plain"), (open(os.devnull), "TextIOWrapper")):  # noqa: SIM115, ASYNC230
        for act in (
            lambda value: send(other.pid, value),
            lambda value: send(("name", node(number)), value),
            lambda value: exit(other.pid, value),
            lambda value: cast(other.pid, value),
            lambda value: call(server, value),
            lambda value: spawn_at(node(2), answers_with_itself, value),
        ):
            try:
                awaitable = act({"k": [1, bad]})
                if awaitable is not None:
                    await awaitable
            except TypeError as error:
                assert named in str(error), error
            else:
                raise AssertionError(f"{bad!r} was sent")
    assert await other.seen() == ()
    assert await call(server, "still there") == "still there"
    await nothing_comes()


# --- M9 ------------------------------------------------------------------------------------------------------------------


async def bounded_reader() -> None:
    await receive(lambda message: message == "go", PATIENCE)
    rest: list[Any] = []
    while True:
        match await receive(timeout=PATIENCE):
            case ("tell", who):
                send(who, rest)
                rest = []
            case message:
                rest.append(message)


async def check_m9_bounded_mailbox_of_another_node_keeps_what_it_should(full: str, kept: list[int]) -> None:
    pid, ref = await spawn_monitor_at(node(2), bounded_reader, mailbox=Mailbox(3, full))  # type: ignore[arg-type]
    other = await make(2)
    for number in range(5):
        send(pid, number)
    if full == "exit":
        assert (await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)).reason == ("mailbox", "full")
        return
    await other.seen()
    letters = await at(2, letters_of, pid)
    assert letters == 2
    if full == "drop_old":
        send(pid, "go")
        await other.seen()  # by then it has been taken
        send(pid, ("tell", self_pid()))
        kept = kept[1:]  # `go` took the place of one
    else:
        exit(pid, "normal")
        info = await process_info_at(pid)
        assert info is not None
        assert info.mailbox_length == 3
        return
    got = await receive(lambda message: type(message) is list, PATIENCE)
    assert got == kept, got


async def letters_of(who: Pid, ref: Any, pid: Pid) -> None:
    from beamlike import dead_letter_counts

    send(who, (ref, sum(count for (to, _), count in dead_letter_counts().items() if to == pid)))


# --- M10 -----------------------------------------------------------------------------------------------------------------


def memory() -> float:
    """MiB of this OS process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


async def counter(who: Pid) -> None:
    """Says when it has got as many as it was told."""
    got = 0
    while True:
        match await receive():
            case ("after", count):
                assert got == count, (got, count)
                send(who, "all there")
            case _:
                got += 1


def flood(to: Pid, count: int, length: int) -> None:
    for number in range(count):
        send(to, (number, b"x" * length))
    send(to, ("after", count))


async def flooder(to: Pid, count: int, length: int) -> None:
    flood(to, count, length)


async def flooder_in_io(to: Pid, count: int, length: int) -> None:
    async with io():
        flood(to, count, length)


async def flooder_in_sorted(to: Pid, count: int, length: int) -> None:
    def key(number: int) -> int:
        send(to, (number, b"x" * length))
        return number

    sorted(range(count), key=key)
    send(to, ("after", count))


class Flooder(GenServer):
    async def handle_cast(self, request: Any) -> None:
        flood(*request)
        await self.over()

    async def over(self) -> None:
        send(self_pid(), "over")

    async def handle_info(self, message: Any) -> None:
        from beamlike import Stop

        raise Stop("normal")


async def flooder_in_server(to: Pid, count: int, length: int) -> None:
    server = await Flooder.start()
    ref = monitor(server)
    cast(server, (to, count, length))
    await receive(lambda message: isinstance(message, Down) and message.ref == ref)


FLOODERS = {"for": flooder, "io": flooder_in_io, "sorted": flooder_in_sorted, "server": flooder_in_server}


async def check_m10_flooder_of_a_node_that_does_not_read_is_suspended(how: str, count: int, length: int) -> None:
    to = await spawn_at(node(2), counter, self_pid())
    third = await make(3)
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        before = memory()
        pid, ref = spawn_monitor(FLOODERS[how], to, count, length)
        for _ in range(20):
            await third.seen()  # traffic to others goes on
            await sleep(0.01)
        assert process_info(pid) is not None, "it is not through"
        grown = memory() - before
        assert grown < 16, f"{grown} MiB more"
    finally:
        os.kill(os_pid, signal.SIGCONT)
    assert (
        await receive(lambda message: message == "all there" or (isinstance(message, Down) and message.reason != "normal"), PATIENCE)
        == "all there"
    )
    assert (await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)).reason == "normal"


async def check_m10_flooder_that_is_killed_dies(how: str) -> None:
    to = await spawn_at(node(2), counter, self_pid())
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        pid, ref = spawn_monitor(FLOODERS[how], to, 100_000, 100)
        await until_suspended(pid)
        exit(pid, "kill")
        assert (await receive(Down, PATIENCE)) == Down(ref, pid, "killed")
    finally:
        os.kill(os_pid, signal.SIGCONT)


async def check_m10_suspended_flooder_in_trio_mode_does_not_compute() -> None:
    to = await spawn_at(node(2), counter, self_pid())
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        pid, ref = spawn_monitor(flooder_in_io, to, 10_000, 200)
        await until_suspended(pid)
        stepper: Any = joined().node.stepper
        steps = stepper.pump_steps
        for _ in range(20):
            await sleep(0.001)  # a turn of trio's loop at least
        assert stepper.pump_steps - steps < 10
    finally:
        os.kill(os_pid, signal.SIGCONT)
    assert (await receive(lambda message: isinstance(message, Down) and message.ref == ref, PATIENCE)).reason == "normal"


async def check_message_that_ends_the_program_where_it_is_imported_is_dropped() -> None:
    other, os_pid = await make(2), await at(2, os_pid_of)
    sys.is_to_import_what_exits = True  # type: ignore[attr-defined]  # here, and not there
    import exits_on_import

    send(other.pid, ("callback", exits_on_import.callback))
    send(other.pid, "next")
    seen: tuple[Any, ...] = ()
    while "next" not in seen:
        seen += await other.seen()
    assert seen == ("next",)
    assert await at(2, os_pid_of) == os_pid


async def check_m10_flooder_goes_on_when_the_node_is_killed(how: str) -> None:
    to = await spawn_at(node(2), counter, self_pid())
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    pid, ref = spawn_monitor(FLOODERS[how], to, 50_000, 100)
    await until_suspended(pid)
    os.kill(os_pid, signal.SIGKILL)
    assert (await receive(Down, PATIENCE)) == Down(ref, pid, "normal")


async def check_m10_deaths_are_told_while_a_flooder_is_suspended() -> None:
    """What the runtime sends suspends nobody in the middle of something."""
    to = await spawn_at(node(2), counter, self_pid())
    linked = [spawn(linked_with, to) for _ in range(10)]
    os_pid = await at(2, os_pid_of)
    os.kill(os_pid, signal.SIGSTOP)
    try:
        pid, _ = spawn_monitor(flooder, to, 100_000, 100)
        await until_suspended(pid)
        refs = [monitor(each) for each in linked]
        killer, killed = spawn_monitor(kills, linked)
        for ref in refs:
            await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref, PATIENCE)
        assert (await receive(lambda message: isinstance(message, Down) and message.ref == killed, PATIENCE)) == Down(
            killed, killer, "normal"
        )
        exit(pid, "kill")
    finally:
        os.kill(os_pid, signal.SIGCONT)


async def linked_with(pid: Pid) -> None:
    link(pid)
    await receive(lambda message: False)


async def kills(pids: list[Pid]) -> None:
    for pid in pids:
        exit(pid, "kill")


async def until_suspended(pid: Pid) -> None:
    """Until so much waits for node 2 that nobody may add to it."""
    peer = joined().router.node(node(2))
    assert peer is not None
    from nodes.hot.peer import MOST_BACKLOG

    while peer.backlog_bytes <= MOST_BACKLOG:
        await sleep(0.001)
        assert process_info(pid) is not None
