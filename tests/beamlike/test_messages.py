"""Messages: the rules M1–M3 and M5–M9 as far as one node can show them. (M9 is in test_limits.py, too.)"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamlike import (
    BadNameError,
    Call,
    CallError,
    CallTimeoutError,
    Cast,
    Down,
    Exit,
    Mailbox,
    Pid,
    Ref,
    Stop,
    blocking,
    call,
    cast,
    exit,
    io,
    link,
    monitor,
    process_flag,
    process_info,
    receive,
    record,
    reply,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
)


@record
class Point:
    x: int
    y: int


@record(frozen=False)
class Basket:
    things: list[Any]


def equal(value: Any) -> Callable[[Any], bool]:
    return lambda message: bool(message == value)


async def sleeper() -> None:
    await sleep(float("inf"))


async def drain() -> list[Any]:
    """All messages that wait, oldest first."""
    messages = []
    while True:
        try:
            messages.append(await receive(timeout=0))
        except TimeoutError:
            return messages


# --- M1 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_m1_messages_of_one_sender_keep_their_order(seed: int) -> None:
    async def sender(to: Pid, name: str) -> None:
        for number in range(200):
            send(to, (name, number))
            if number % 7 == 0:
                await sleep(0)

    async def main() -> None:
        names = [str(number) for number in range(5)]
        for name in names:
            spawn(sender, self_pid(), name)
        messages = [await receive(timeout=1) for _ in range(1000)]
        for name in names:
            assert [number for who, number in messages if who == name] == list(range(200))

    run(main, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_m1_exit_signal_comes_after_the_messages_sent_before_it(seed: int) -> None:
    async def sender(to: Pid) -> None:
        link(to)
        for number in range(10):
            send(to, number)
        raise Stop("boom")

    async def main() -> None:
        process_flag("trap_exit", True)
        pid = spawn(sender, self_pid())
        ref = monitor(pid)
        messages = [await receive(timeout=1) for _ in range(12)]
        assert messages[:10] == list(range(10))
        assert sorted(type(message).__name__ for message in messages[10:]) == ["Down", "Exit"]
        assert {message.reason for message in messages[10:]} == {"boom"}
        assert [message.ref for message in messages if type(message) is Down] == [ref]

    run(main, seed=seed)


def test_m1_message_is_there_before_the_exit_that_was_sent_after_it() -> None:
    async def receiver(boss: Pid) -> None:
        process_flag("trap_exit", True)
        send(boss, "ready")
        await sleep(1)
        send(boss, await drain())

    async def main() -> None:
        pid = spawn(receiver, self_pid())
        await receive(equal("ready"))
        send(pid, 1)
        exit(pid, "one")
        send(pid, 2)
        exit(pid, "two")
        me = self_pid()
        assert await receive(timeout=2) == [1, Exit(me, "one"), 2, Exit(me, "two")]

    run(main, seed=1)


# --- M2 -------------------------------------------------------------------------------------------------------------------


def test_m2_send_to_a_dead_pid_is_dropped_in_silence() -> None:
    async def nothing() -> None:
        pass

    async def main() -> None:
        pid, _ = spawn_monitor(nothing)
        await receive(Down)
        send(pid, "hello")
        await sleep(1)
        assert await drain() == []

    run(main, seed=1)


def test_m2_send_to_a_name_that_nobody_has_is_a_bad_name_error() -> None:
    async def main() -> None:
        with pytest.raises(BadNameError, match="'nobody'"):
            send("nobody", 1)
        with pytest.raises(BadNameError, match="'nobody'"):
            await call("nobody", 1)
        with pytest.raises(BadNameError, match="'nobody'"):
            cast("nobody", 1)

    run(main, seed=1)


def test_m2_send_to_a_name_of_a_node_is_dropped_when_nobody_has_it() -> None:
    async def main() -> None:
        send(("nobody", self_pid().node), 1)
        send(("nobody", "elsewhere@machine"), 1)
        spawn(sleeper, name="somebody")
        send(("somebody", self_pid().node), 1)

    run(main, seed=1)


@pytest.mark.parametrize("far", [False, True])
def test_m2_send_by_name_reaches_its_holder(far: bool) -> None:
    async def echo(boss: Pid) -> None:
        send(boss, await receive())

    async def main() -> Any:
        spawn(echo, self_pid(), name="echo")
        send(("echo", self_pid().node) if far else "echo", "hello")
        return await receive(timeout=1)

    assert run(main, seed=1) == "hello"


def test_m2_send_never_blocks_nor_gives_way() -> None:
    async def main() -> int:
        pid = spawn(sleeper)
        for number in range(50_000):
            send(pid, number)
        info = process_info(pid)
        assert info is not None
        return info.mailbox_length

    assert run(main, seed=1) == 50_000


# --- M3 -------------------------------------------------------------------------------------------------------------------


def test_m3_what_does_not_match_stays_in_order() -> None:
    async def main() -> None:
        for message in (1, "a", 2, "b", 3):
            send(self_pid(), message)
        assert await receive(str) == "a"
        assert await receive(str) == "b"
        assert await drain() == [1, 2, 3]

    run(main, seed=1)


def test_m3_timeout_0_looks_once() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await receive(timeout=0)
        send(self_pid(), 1)
        with pytest.raises(TimeoutError):
            await receive(str, timeout=0)
        assert await receive(timeout=0) == 1

    run(main, seed=1)


def test_m3_works_after_a_timeout_left_unmatched_messages_behind() -> None:
    async def later(to: Pid) -> None:
        await sleep(2)
        send(to, "late")

    async def main() -> None:
        spawn(later, self_pid())
        send(self_pid(), 1)
        send(self_pid(), 2)
        with pytest.raises(TimeoutError):
            await receive(str, timeout=1)
        send(self_pid(), 3)
        assert await receive(str, timeout=2) == "late"
        assert await drain() == [1, 2, 3]

    run(main, seed=1)


def test_m3_message_that_comes_while_it_waits_is_seen_however_many_wait_before_it() -> None:
    async def later(to: Pid) -> None:
        for number in range(10):
            send(to, number)
            await sleep(0.1)
        send(to, "here")

    async def main() -> None:
        spawn(later, self_pid())
        assert await receive(str, timeout=5) == "here"
        assert await drain() == list(range(10))

    run(main, seed=1)


def test_m3_bounded_mailbox_that_drops_its_oldest_message_hides_no_match() -> None:
    async def picky(boss: Pid) -> None:
        send(boss, ("got", await receive(str, timeout=5)))

    async def main() -> Any:
        pid = spawn(picky, self_pid(), mailbox=Mailbox(3, "drop_old"))
        for number in range(3):
            send(pid, number)
        await sleep(0.1)
        send(pid, "match")
        return await receive(timeout=1)

    assert run(main, seed=1) == ("got", "match")


def test_m3_predicate_that_raises_leaves_the_mailbox_as_it_is() -> None:
    def broken(message: Any) -> bool:
        if message == 2:
            raise ZeroDivisionError
        return False

    async def main() -> None:
        for number in (1, 2, 3):
            send(self_pid(), number)
        with pytest.raises(ZeroDivisionError):
            await receive(broken)
        assert await drain() == [1, 2, 3]

    run(main, seed=1)


def test_m3_predicate_sees_each_message_once() -> None:
    seen = []

    def look(message: Any) -> bool:
        seen.append(message)
        return bool(message == "end")

    async def later(to: Pid) -> None:
        for message in (3, 4, "end"):
            await sleep(1)
            send(to, message)

    async def main() -> None:
        send(self_pid(), 1)
        send(self_pid(), 2)
        spawn(later, self_pid())
        await receive(look)
        assert seen == [1, 2, 3, 4, "end"]

    run(main, seed=1)


def test_m3_messages_sent_while_the_predicate_looks_are_kept() -> None:
    def look(message: Any) -> bool:
        if message < 3:
            send(self_pid(), message + 10)
        return bool(message == 11)

    async def main() -> None:
        for number in (1, 2, 3):
            send(self_pid(), number)
        assert await receive(look, timeout=1) == 11
        assert await drain() == [1, 2, 3, 12]

    run(main, seed=1)


@pytest.mark.parametrize(
    ("match", "message", "fits"),
    [
        (int, 1, True),
        (int, "1", False),
        ((str, Pid, object), ("a", 1, 2), False),
        (("add", int), ("add", 1), True),
        (("add", int), ("add", 1, "more"), True),
        (("add", int), ("add",), False),
        (("add", int), ("add", "1"), False),
        (("add", int), ["add", 1], False),
        (("add", int), ("sub", 1), False),
        ((), (), True),
        ((), 1, False),
        ((None,), (None, 1), True),
        (Point, Point(1, 2), True),
        (Basket, Point(1, 2), False),
    ],
)
def test_m3_match_is_a_type_a_predicate_or_a_tuple_prefix(match: Any, message: Any, fits: bool) -> None:
    async def main() -> None:
        send(self_pid(), message)
        if fits:
            assert await receive(match, timeout=0) == message
        else:
            with pytest.raises(TimeoutError):
                await receive(match, timeout=0)
            assert await drain() == [message]

    run(main, seed=1)


def test_m3_predicate_that_makes_its_own_mailbox_drop_takes_the_message_it_matched() -> None:
    async def small() -> None:
        await sleep(1)

        def matches(message: Any) -> bool:
            if message == "b":
                send(self_pid(), "d")  # the mailbox is full: "a" goes
            return bool(message == "b")

        assert await receive(matches) == "b"
        assert [await receive(timeout=0), await receive(timeout=0)] == ["c", "d"]
        send(parent[0], "right")

    parent: list[Pid] = []

    async def main() -> None:
        parent.append(self_pid())
        pid = spawn(small, mailbox=Mailbox(3, full="drop_old"))
        for message in ("a", "b", "c"):
            send(pid, message)
        assert await receive(timeout=2) == "right"

    run(main, seed=1)


async def is_late(message: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("match", "says"),
    [(is_late, "is async"), (("add", lambda message: True), "can be in no message"), (("add", ...), "can be in no message")],
)
def test_m3_match_that_would_never_be_right_is_refused(match: Any, says: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=says):
            await receive(match, timeout=0)

    run(main, seed=1)


def test_m3_match_may_name_several_types() -> None:
    async def main() -> None:
        for message in (1.5, ("add", "one"), ("add", 1), 2):
            send(self_pid(), message)
        assert await receive(("add", int | bytes)) == ("add", 1)
        assert await receive(int | str) == 2

    run(main, seed=1)


def test_none_is_a_message_and_never_a_timeout() -> None:
    async def main() -> None:
        send(self_pid(), None)
        assert await receive(timeout=0) is None
        send(self_pid(), None)
        assert await receive() is None
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


MATCHES: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "any": (None, lambda message: True),
    "int": (int, lambda message: isinstance(message, int)),
    "str": (str, lambda message: isinstance(message, str)),
    "even": (lambda message: type(message) is int and message % 2 == 0, lambda message: type(message) is int and message % 2 == 0),
    "tagged": (("a", int), lambda message: type(message) is tuple and message[0] == "a" and type(message[1]) is int),
    "none": (lambda message: False, lambda message: False),
}
MESSAGES = st.one_of(
    st.integers(0, 9), st.sampled_from("abc"), st.tuples(st.sampled_from("ab"), st.one_of(st.integers(0, 9), st.just("x")))
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), MESSAGES),
        st.tuples(st.just("later"), MESSAGES),  # arrives while a receive waits
        st.tuples(st.just("receive"), st.sampled_from(sorted(MATCHES)), st.sampled_from([0, 5])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, in_trio=st.booleans())
def test_m3_selective_receive_does_what_a_list_would_do(steps: list[Any], in_trio: bool) -> None:
    """Random sends and receives against a model: a list of what waits and one of (time, message) that is to come."""
    time = 0.0
    waiting: list[Any] = []
    coming: list[tuple[float, Any]] = []

    def come_until(end: float) -> None:
        while coming and coming[0][0] <= end:
            waiting.append(coming.pop(0)[1])

    def expected(matches: Callable[[Any], bool], timeout: float) -> Any:
        """What the model says of a receive: a message in a list, or an empty list for a timeout."""
        nonlocal time
        end = time + timeout
        while True:
            for index, message in enumerate(waiting):
                if matches(message):
                    return [waiting.pop(index)]
            if not coming or coming[0][0] > end:
                time = end
                return []
            time = max(time, coming[0][0])
            come_until(time)

    async def courier(to: Pid) -> None:
        while True:
            when, message = await receive()
            spawn(deliver, to, when, message)

    async def deliver(to: Pid, seconds: float, message: Any) -> None:
        await sleep(seconds)
        send(to, message)

    async def body() -> None:
        carrier = spawn(courier, self_pid())
        nth = 0
        for step in steps:
            match step:
                case ("send", message):
                    send(self_pid(), message)
                    waiting.append(message)
                case ("later", message):
                    # Each at a time of its own, 1/8 s and a bit away: no two events of a test fall together.
                    nth += 1
                    wait = 0.125 * (nth % 16 + 1) + 1 / 4096 * nth
                    send(carrier, (wait, message))
                    coming.append((time + wait, message))
                    coming.sort(key=lambda event: event[0])
                case ("receive", kind, timeout):
                    match, matches = MATCHES[kind]
                    want = expected(matches, timeout)
                    try:
                        got = [await receive(match, timeout=timeout)]
                    except TimeoutError:
                        got = []
                    assert got == want
        assert await drain() == waiting

    async def main() -> None:
        if in_trio:
            async with io():
                await body()
        else:
            await body()

    run(main, seed=1)


# --- M5 -------------------------------------------------------------------------------------------------------------------


async def late_server(seconds: float) -> None:
    while True:
        request = await receive(Call)
        await sleep(seconds)
        reply(request.caller, ("late answer to", request.request))


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_m5_late_reply_reaches_neither_mailbox_nor_hurts_the_server(mode: str) -> None:
    async def body() -> None:
        server = spawn(late_server, 2)
        with pytest.raises(CallTimeoutError) as error:
            await call(server, 1, timeout=1)
        assert error.value.reason == "timeout"
        await sleep(5)
        assert await drain() == []
        assert await call(server, 2, timeout=5) == ("late answer to", 2)

    async def main() -> None:
        if mode == "trio":
            async with io():
                await body()
        else:
            await body()

    run(main, seed=1)


def test_m5_late_reply_is_not_taken_for_the_answer_of_the_next_call() -> None:
    async def main() -> None:
        server = spawn(late_server, 2)
        with pytest.raises(CallTimeoutError):
            await call(server, "first", timeout=1)
        assert await call(server, "second", timeout=10) == ("late answer to", "second")

    run(main, seed=1)


def test_m5_second_reply_is_dropped() -> None:
    async def eager() -> None:
        request = await receive(Call)
        reply(request.caller, 1)
        reply(request.caller, 2)

    async def main() -> None:
        assert await call(spawn(eager), "x") == 1
        await sleep(1)
        assert await drain() == []

    run(main, seed=1)


def test_m5_caller_that_is_killed_in_a_call_leaves_nothing_at_the_server() -> None:
    async def caller(server: Pid) -> None:
        await call(server, "never answered", timeout=None)

    async def main() -> None:
        server = spawn(sleeper)
        one, _ = spawn_monitor(caller, server)
        await sleep(1)
        exit(one, "kill")
        await receive(Down)
        await sleep(1)
        info = process_info(server)
        assert info is not None
        assert info.monitored_by == ()

    run(main, seed=1)


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_call_of_a_server_that_dies_fails_with_its_reason(mode: str) -> None:
    async def dying() -> None:
        await receive(Call)
        raise Stop("boom")

    async def body() -> None:
        with pytest.raises(CallError) as error:
            await call(spawn(dying), 1)
        assert error.value.reason == "boom"
        gone, _ = spawn_monitor(dying)
        exit(gone, "kill")
        await receive(Down)
        with pytest.raises(CallError) as error:
            await call(gone, 1)
        assert error.value.reason == "noproc"
        assert await drain() == []

    async def main() -> None:
        if mode == "trio":
            async with io():
                await body()
        else:
            await body()

    run(main, seed=1)


def test_cast_is_a_message_with_the_request() -> None:
    async def main() -> None:
        cast(self_pid(), [1])
        assert await receive(timeout=0) == Cast([1])

    run(main, seed=1)


# --- M6 -------------------------------------------------------------------------------------------------------------------


def test_m6_pid_of_a_former_life_of_the_node_never_reaches_its_successor() -> None:
    async def give_pid() -> Pid:
        return self_pid()

    old = run(give_pid, seed=1)

    async def main() -> None:
        me = self_pid()
        assert (me.node, me.serial) == (old.node, old.serial)
        assert me != old
        send(old, "hello")
        exit(old, "kill")
        ref = monitor(old)
        assert await receive(timeout=1) == Down(ref, old, "noconnection")
        with pytest.raises(CallError) as error:
            await call(old, 1)
        assert error.value.reason == "noconnection"
        await sleep(1)
        assert await drain() == []

    run(main, seed=1)


# --- M7 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, [2]],
        lambda: {"a": [1]},
        lambda: {1, 2},
        lambda: bytearray(b"ab"),
        lambda: ([1], "fixed"),
        lambda: Basket([1, 2]),
    ],
)
def test_m7_neither_side_sees_what_the_other_changes(make: Callable[[], Any]) -> None:
    def change(message: Any) -> None:
        match message:
            case Basket():
                message.things.append("changed")
            case tuple():
                message[0].append("changed")
            case dict():
                message["changed"] = 1
            case set():
                message.add(99)
            case list() | bytearray():
                message.append(99)

    async def receiver(boss: Pid) -> None:
        message = await receive()
        change(message)
        send(boss, "changed")
        await receive(equal("go on"))
        send(boss, message)

    async def main() -> None:
        sent = make()
        pid = spawn(receiver, self_pid())
        send(pid, sent)
        await receive(equal("changed"))
        assert sent == make()
        change(sent)
        send(pid, "go on")
        changed = make()
        change(changed)
        assert await receive(timeout=1) == changed

    run(main, seed=1)


@pytest.mark.parametrize(
    "message",
    [
        (1, 2),
        [1, 2],
        2**200,
        -(2**70),
        b"\x00\xff",
        "ü",
        1.5,
        None,
        True,
        {1: (2,)},
        frozenset({1}),
        Point(1, 2),
        Basket([1]),
        complex(1, 2),
    ],
)
def test_m7_message_arrives_equal_with_the_same_types(message: Any) -> None:
    async def main() -> None:
        send(self_pid(), message)
        got = await receive(timeout=0)
        assert got == message
        assert type(got) is type(message)

    run(main, seed=1)


def test_m7_pids_and_refs_arrive_equal() -> None:
    async def main() -> None:
        ref = monitor(self_pid())
        send(self_pid(), (self_pid(), [ref]))
        match await receive(timeout=0):
            case (Pid() as pid, [Ref() as same]):
                assert (pid, same) == (self_pid(), ref)
            case other:
                pytest.fail(f"{other!r}")

    run(main, seed=1)


def test_m7_requests_and_replies_are_values_too() -> None:
    kept: list[Any] = []

    async def server() -> None:
        request = await receive(Call)
        kept.append(request.request)
        answer = [1]
        reply(request.caller, answer)
        answer.append(2)

    async def main() -> None:
        request = ["question"]
        answer = await call(spawn(server), request)
        await sleep(1)
        assert answer == [1]
        request.append("changed")
        assert kept == [["question"]]

    run(main, seed=1)


def test_m7_arguments_of_spawn_are_values_too() -> None:
    async def child(things: list[int], boss: Pid) -> None:
        things.append(1)
        send(boss, things)

    async def main() -> None:
        things: list[int] = []
        spawn(child, things, self_pid())
        assert await receive(timeout=1) == [1]
        assert things == []

    run(main, seed=1)


def test_m7_each_receiver_of_an_exit_reason_has_its_own() -> None:
    async def body() -> None:
        await receive()
        raise Stop(["reason"])

    async def main() -> None:
        process_flag("trap_exit", True)
        pid = spawn_link(body)
        monitor(pid)
        monitor(pid)
        send(pid, "end")
        reasons = [(await receive(timeout=1)).reason for _ in range(3)]
        assert reasons == [["reason"]] * 3
        reasons[0].append("changed")
        assert reasons[1:] == [["reason"]] * 2

    run(main, seed=1)


# --- M8 -------------------------------------------------------------------------------------------------------------------


class Unregistered:
    pass


@pytest.mark.parametrize("where", ["send", "cast", "call", "reply", "exit", "send by name"])
@pytest.mark.parametrize(
    ("part", "names"),
    [(lambda: None, "lambda"), (Unregistered(), "Unregistered"), (iter([]), "list_iterator")],
    ids=["lambda", "unregistered class", "iterator"],
)
def test_m8_what_cannot_be_sent_raises_type_error_in_the_sender_and_names_the_part(where: str, part: Any, names: str) -> None:
    async def server() -> None:
        request = await receive(Call)
        with pytest.raises(TypeError, match=names):
            reply(request.caller, ["ok", part])
        reply(request.caller, "refused")

    async def main() -> None:
        pid = spawn(server, name="server")
        message = ["ok", {"deep": (1, part)}]
        match where:
            case "send":
                with pytest.raises(TypeError, match=names):
                    send(pid, message)
            case "send by name":
                with pytest.raises(TypeError, match=names):
                    send("server", message)
            case "cast":
                with pytest.raises(TypeError, match=names):
                    cast(pid, message)
            case "call":
                with pytest.raises(TypeError, match=names):
                    await call(pid, message)
            case "reply":
                assert await call(pid, "x") == "refused"
            case "exit":
                with pytest.raises(TypeError, match=names):
                    exit(pid, message)
        info = process_info(pid)
        assert info is None or info.mailbox_length == 0

    run(main, seed=1)


def test_m8_sockets_and_open_files_are_refused() -> None:
    async def main() -> None:
        with socket.socket() as one, pytest.raises(TypeError, match=r"socket"):
            send(self_pid(), one)
        with open(__file__) as file, pytest.raises(TypeError, match=r"TextIOWrapper"):  # noqa: ASYNC230 - not read
            send(self_pid(), file)

    run(main, seed=1)


# --- from threads ---------------------------------------------------------------------------------------------------------


def test_messages_of_a_thread_keep_their_order_and_are_values() -> None:
    def work(to: Pid) -> None:
        thing: list[int] = []
        for number in range(100):
            thing.append(number)
            send(to, thing)

    async def main() -> None:
        await blocking(work, self_pid())
        messages = [await receive(timeout=5) for _ in range(100)]
        assert [len(message) for message in messages] == list(range(1, 101))

    run(main)


def test_send_of_a_thread_raises_what_it_would_raise_elsewhere() -> None:
    def work(me: Pid) -> None:
        with pytest.raises(TypeError, match="lambda"):
            send(me, lambda: 1)
        with pytest.raises(TypeError, match="destination"):
            send(5, 1)
        with pytest.raises(BadNameError, match="'nobody'"):
            send("nobody", 1)

    async def main() -> None:
        await blocking(work, self_pid())

    run(main)
