"""Exit signals, links and monitors: the rules E1–E19 as far as one node can show them, and the table that decides them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from beamlike import (
    Down,
    Exit,
    Pid,
    Ref,
    Stop,
    demonitor,
    exit,
    link,
    monitor,
    process_flag,
    process_info,
    processes,
    receive,
    register,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_link,
    spawn_monitor,
    unlink,
    whereis,
)
from beamlike.exits import ExitError, is_quiet
from beamlike.routing import install
from beamlike.signals import EXIT_SIGNALS, Effect, effect, exit_from_afar

REASONS = ("normal", "kill", "killed", "shutdown", "boom", ("shutdown", 1), ("kill",))


def erlang(*, link: bool, active: bool, reason: Any, itself: bool, traps: bool) -> Effect:
    """erlang:exit/2 and link/1 as their manual tells it, with no look at our table."""
    if link:
        if not active:
            return Effect.DROPPED
        if traps:
            return Effect.MESSAGE
        return Effect.DROPPED if reason == "normal" else Effect.END
    if reason == "kill":
        return Effect.END_KILLED
    if traps:
        return Effect.MESSAGE
    if reason == "normal" and not itself:
        return Effect.DROPPED
    return Effect.END


# A process is never linked to itself, so link × itself does not occur.
CASES = [
    case for case in itertools.product((False, True), (False, True), REASONS, (False, True), (False, True)) if not (case[0] and case[3])
]


def equal(value: Any) -> Callable[[Any], bool]:
    return lambda message: bool(message == value)


async def sleeper() -> None:
    await sleep(float("inf"))


async def ender(reason: Any) -> None:
    await receive(equal("end"))
    raise Stop(reason)


async def subject(boss: Pid, traps: bool) -> None:
    """Does what it is told and reports what it received."""
    process_flag("trap_exit", traps)
    send(boss, "ready")
    seen: list[Any] = []
    while True:
        match await receive():
            case "report":
                send(boss, ("alive", tuple(seen)))
            case ("exit yourself", reason):
                exit(self_pid(), reason)
            case ("link", Pid() as pid):
                link(pid)
            case message:
                seen.append(message)


@pytest.mark.parametrize(("link", "active", "reason", "itself", "traps"), CASES)
def test_the_table_says_what_erlang_says(link: bool, active: bool, reason: Any, itself: bool, traps: bool) -> None:
    case = {"link": link, "active": active, "reason": reason, "itself": itself, "traps": traps}
    assert effect(**case) is erlang(**case)


def test_every_row_of_the_table_decides_some_case() -> None:
    deciding = set()
    for link_, active, reason, itself, traps in CASES:
        values = (link_, active, itself, traps)
        for row in EXIT_SIGNALS:
            fits = all(want in (None, has) for want, has in zip((row.link, row.active, row.itself, row.traps), values, strict=True))
            if fits and row.reason in (None, reason):
                deciding.add(row.rule)
                break
    assert deciding == {row.rule for row in EXIT_SIGNALS}


@pytest.mark.parametrize(("linked", "active", "reason", "itself", "traps"), CASES)
def test_real_processes_do_what_erlang_says(linked: bool, active: bool, reason: Any, itself: bool, traps: bool) -> None:
    async def sender(target: Pid) -> None:
        await receive()
        if linked:
            raise Stop(reason)
        exit(target, reason)

    async def main() -> tuple[Pid, Pid, Any]:
        target, ref = spawn_monitor(subject, self_pid(), traps)
        await receive(equal("ready"))
        other, other_ref = spawn_monitor(sender, target)
        if active:
            send(target, ("link", other))
            await sleep(0.1)
        if itself:
            other = target
            send(target, ("exit yourself", reason))  # a link to another one changes nothing
            await sleep(0.1)
        elif linked and not active:
            exit_from_afar(other, target, reason)
        else:
            send(other, "go")
            await receive(lambda message: type(message) is Down and message.ref == other_ref)
        send(target, "report")
        match await receive(lambda message: type(message) is tuple or (type(message) is Down and message.ref == ref)):
            case Down(_, _, ended_with):
                return target, other, ended_with
            case answer:
                return target, other, answer

    _target, other, outcome = run(main, seed=7)
    match erlang(link=linked, active=active, reason=reason, itself=itself, traps=traps):
        case Effect.DROPPED:
            # `exit` does not use the link: when its sender ends normally, a linked one that traps hears of that, too.
            assert outcome == ("alive", ())
        case Effect.MESSAGE:
            ends_too = (Exit(other, "normal"),) if active and not linked and not itself else ()
            assert outcome == ("alive", (Exit(other, reason), *ends_too))
        case Effect.END:
            assert outcome == reason
        case Effect.END_KILLED:
            assert outcome == "killed"


def test_e1_signal_of_a_link_that_is_no_longer_active_is_dropped() -> None:
    async def main() -> list[Any]:
        process_flag("trap_exit", True)
        peer = spawn(ender, "boom")
        link(peer)
        unlink(peer)
        exit_from_afar(peer, self_pid(), "boom")  # as one that was on its way
        send(peer, "end")
        await sleep(1)
        with pytest.raises(TimeoutError):
            await receive(timeout=0)
        return list(process_info(self_pid()).links)  # type: ignore[union-attr]

    assert run(main, seed=1) == []


def test_e2_normal_from_another_process_is_dropped() -> None:
    async def main() -> Any:
        target = spawn(subject, self_pid(), False)
        await receive(equal("ready"))
        exit(target, "normal")
        send(target, "report")
        return await receive(timeout=1)

    assert run(main, seed=1) == ("alive", ())


def test_e3_exit_of_oneself_with_normal_ends_the_process() -> None:
    async def body(boss: Pid) -> None:
        exit(self_pid(), "normal")
        send(boss, "still here")

    async def main() -> Any:
        _, _ref = spawn_monitor(body, self_pid())
        return (await receive(timeout=1)).reason

    assert run(main, seed=1) == "normal"


def test_e4_kill_cannot_be_trapped() -> None:
    async def main() -> Any:
        target, _ = spawn_monitor(subject, self_pid(), True)
        await receive(equal("ready"))
        exit(target, "kill")
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == "killed"


def test_e5_linked_process_that_ended_with_kill_is_a_message_to_one_that_traps() -> None:
    async def main() -> bool:
        process_flag("trap_exit", True)
        peer = spawn_link(ender, "kill")
        send(peer, "end")
        return bool(await receive(timeout=1) == Exit(peer, "kill"))

    assert run(main, seed=1)


def test_e6_linked_process_that_ended_with_kill_ends_one_that_does_not_trap_with_kill() -> None:
    async def linker(boss: Pid) -> None:
        send(boss, spawn_link(ender, "kill"))
        await sleeper()

    async def main() -> Any:
        _, _ref = spawn_monitor(linker, self_pid())
        send(await receive(Pid), "end")
        return (await receive(Down, timeout=1)).reason

    assert run(main, seed=1) == "kill"


def test_e7_links_of_a_killed_process_see_killed_and_can_trap_it() -> None:
    async def main() -> bool:
        process_flag("trap_exit", True)
        victim = spawn_link(sleeper)
        exit(victim, "kill")
        return bool(await receive(timeout=1) == Exit(victim, "killed"))

    assert run(main, seed=1)


def test_e7_links_of_a_killed_process_that_do_not_trap_end_with_killed() -> None:
    async def linker(victim: Pid) -> None:
        link(victim)
        await sleeper()

    async def main() -> Any:
        victim = spawn(sleeper)
        _, _ref = spawn_monitor(linker, victim)
        await sleep(0.1)
        exit(victim, "kill")
        return (await receive(timeout=1)).reason

    assert run(main, seed=1) == "killed"


@pytest.mark.parametrize("reason", ["normal", "shutdown", "boom", "killed", ("shutdown", 1), ("a", [1, 2])])
def test_e8_any_other_signal_is_a_message_to_one_that_traps(reason: Any) -> None:
    async def main() -> list[Any]:
        process_flag("trap_exit", True)
        peer = spawn_link(ender, reason)
        exit(self_pid(), reason)
        first = await receive(timeout=1)
        send(peer, "end")
        second = await receive(timeout=1)
        assert (first, second) == (Exit(self_pid(), reason), Exit(peer, reason))
        return [first.reason, second.reason]

    assert run(main, seed=1) == [reason, reason]


@pytest.mark.parametrize("reason", ["shutdown", "boom", "killed", ("shutdown", 1), ("a", [1, 2])])
def test_e9_any_other_reason_ends_with_that_reason_and_its_links_see_it(reason: Any) -> None:
    async def chained(length: int) -> None:
        if length:
            spawn_link(chained, length - 1)
        await sleeper()

    async def main() -> list[Any]:
        process_flag("trap_exit", True)
        head = spawn_link(chained, 3)
        await sleep(0.1)
        refs = [monitor(pid) for pid in processes() if pid != self_pid()]
        exit(processes()[-1], reason)
        reasons = [(await receive(Down, timeout=1)).reason for _ in refs]
        assert await receive(timeout=1) == Exit(head, reason)
        return reasons

    assert run(main, seed=1) == [reason] * 4


def test_e9_chain_of_many_links_falls_without_recursion() -> None:
    length = 5_000

    async def chained(boss: Pid, more: int) -> None:
        if more:
            spawn_link(chained, boss, more - 1)
        else:
            send(boss, "built")
        await sleeper()

    async def main() -> tuple[Any, int]:
        head, _ = spawn_monitor(chained, self_pid(), length)
        await receive(equal("built"))
        exit(head, "boom")
        down = await receive(Down)
        await sleep(1)
        return down.reason, len(processes())

    assert run(main, seed=1) == ("boom", 1)


def test_e10_link_to_no_process_is_the_signal_noproc_to_one_that_traps() -> None:
    async def main() -> bool:
        process_flag("trap_exit", True)
        gone, _ref = spawn_monitor(ender, "normal")
        send(gone, "end")
        await receive(Down)
        link(gone)
        assert process_info(self_pid()).links == ()  # type: ignore[union-attr]
        return bool(await receive(timeout=0) == Exit(gone, "noproc"))

    assert run(main, seed=1)


def test_e10_link_to_no_process_ends_one_that_does_not_trap_at_once() -> None:
    async def linker(boss: Pid, gone: Pid) -> None:
        link(gone)
        send(boss, "went on")

    async def main() -> Any:
        gone, _ = spawn_monitor(ender, "normal")
        send(gone, "end")
        await receive(Down)
        spawn_monitor(linker, self_pid(), gone)
        return (await receive(timeout=1)).reason

    assert run(main, seed=1) == "noproc"


async def pid_of_a_lost_node() -> Pid:
    return self_pid()


def test_e11_link_to_a_process_of_a_lost_node_is_the_signal_noconnection() -> None:
    lost = run(pid_of_a_lost_node)

    async def linker() -> None:
        link(lost)

    async def main() -> Any:
        _, _ref = spawn_monitor(linker)
        ended = (await receive(Down, timeout=1)).reason
        process_flag("trap_exit", True)
        link(lost)
        assert await receive(timeout=1) == Exit(lost, "noconnection")
        return ended

    assert run(main, seed=1) == "noconnection"


def test_e12_monitor_of_what_does_not_exist_is_down_noproc_at_once() -> None:
    async def main() -> None:
        gone, first = spawn_monitor(ender, "normal")
        send(gone, "end")
        assert await receive(timeout=1) == Down(first, gone, "normal")
        ref = monitor(gone)
        assert await receive(timeout=0) == Down(ref, gone, "noproc")
        named = monitor("nobody")
        assert await receive(timeout=0) == Down(named, ("nobody", self_pid().node), "noproc")
        far = monitor(("nobody", self_pid().node))
        assert await receive(timeout=0) == Down(far, ("nobody", self_pid().node), "noproc")
        assert process_info(self_pid()).monitors == ()  # type: ignore[union-attr]

    run(main, seed=1)


def test_e13_monitor_of_a_process_of_a_lost_node_is_down_noconnection() -> None:
    lost = run(pid_of_a_lost_node)

    async def main() -> None:
        ref = monitor(lost)
        assert await receive(timeout=1) == Down(ref, lost, "noconnection")
        ref = monitor(("name", "elsewhere@machine"))
        assert await receive(timeout=1) == Down(ref, ("name", "elsewhere@machine"), "noconnection")

    run(main, seed=1)


def test_e14_uncaught_exception_becomes_type_text_and_stack_in_plain_terms() -> None:
    def inner() -> None:
        raise LookupError("no such thing")

    async def body() -> None:
        inner()

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason

    (kind, text), stack = run(main, seed=1)
    assert (kind, text) == ("LookupError", "no such thing")
    assert [function for _, _, function in stack] == ["body", "inner"]
    for file, line, _ in stack:
        assert file == __file__
        assert type(line) is int


def test_e14_type_of_an_exception_that_is_not_built_in_names_its_module() -> None:
    async def body() -> None:
        raise ExitError("text", "reason")

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason[0]

    assert run(main, seed=1) == ("beamlike.exits.ExitError", "text")


def test_e14_reason_that_cannot_be_sent_becomes_an_error_that_says_so() -> None:
    async def body() -> None:
        raise Stop(lambda: 1)

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason

    (kind, text), _ = run(main, seed=1)
    assert kind == "TypeError"
    assert "lambda" in text


def test_e15_link_is_bidirectional() -> None:
    async def linker(peer: Pid) -> None:
        link(peer)
        await receive()
        raise Stop("boom")

    async def main() -> list[Any]:
        reasons = []
        for victim in (0, 1):
            one, _ = spawn_monitor(sleeper)
            other, _ = spawn_monitor(linker, one)
            await sleep(0.1)
            exit((one, other)[victim], "boom")
            reasons += [(await receive(timeout=1)).reason, (await receive(timeout=1)).reason]
        return reasons

    assert run(main, seed=1) == ["boom"] * 4


def test_e15_there_is_at_most_one_link_a_pair() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        peer = spawn_link(ender, "boom")
        link(peer)
        link(peer)
        assert process_info(self_pid()).links == (peer,)  # type: ignore[union-attr]
        send(peer, "end")
        assert await receive(timeout=1) == Exit(peer, "boom")
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


def test_e15_one_unlink_ends_the_link_however_often_it_was_made() -> None:
    async def main() -> Any:
        peer = spawn_link(ender, "boom")
        link(peer)
        unlink(peer)
        ref = monitor(peer)
        send(peer, "end")
        assert await receive(timeout=1) == Down(ref, peer, "boom")
        return "alive"

    assert run(main, seed=1) == "alive"


def test_e15_exit_that_is_queued_already_stays_after_unlink() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        peer = spawn_link(ender, "boom")
        send(peer, "end")
        await sleep(1)
        unlink(peer)
        assert await receive(timeout=0) == Exit(peer, "boom")

    run(main, seed=1)


def test_e15_link_to_oneself_does_nothing() -> None:
    async def main() -> tuple[Any, ...]:
        link(self_pid())
        return tuple(process_info(self_pid()).links)  # type: ignore[union-attr]

    assert run(main, seed=1) == ()


def test_e16_monitors_are_one_way_and_each_has_its_own_ref() -> None:
    async def watcher(boss: Pid, target: Pid) -> None:
        monitor(target)
        send(boss, "watching")
        await receive(equal("crash"))
        raise Stop("boom")

    async def main() -> None:
        target = spawn(ender, "bye")
        other = spawn(watcher, self_pid(), target)
        await receive(equal("watching"))
        refs = [monitor(target) for _ in range(3)]
        assert len(set(refs)) == 3
        send(other, "crash")
        await sleep(1)
        assert process_info(target) is not None, "what a watcher does is nothing to whom it watches"
        send(target, "end")
        downs = [await receive(timeout=1) for _ in refs]
        assert sorted(downs, key=lambda down: down.ref.serial) == [Down(ref, target, "bye") for ref in refs]
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


def test_e16_demonitor_ends_one_monitor_and_no_other() -> None:
    async def main() -> None:
        target = spawn(ender, "bye")
        first, second = monitor(target), monitor(target)
        assert demonitor(first) is True
        assert demonitor(first) is False
        send(target, "end")
        assert await receive(timeout=1) == Down(second, target, "bye")
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


@pytest.mark.parametrize("flush", [False, True])
def test_e16_demonitor_removes_a_queued_down_only_when_it_flushes(flush: bool) -> None:
    async def main() -> list[Any]:
        target = spawn(ender, "bye")
        ref = monitor(target)
        send(self_pid(), "before")
        send(target, "end")
        await sleep(1)
        send(self_pid(), "after")
        assert demonitor(ref, flush=flush) is False
        rest = [await receive(timeout=0) for _ in range(2 if flush else 3)]
        with pytest.raises(TimeoutError):
            await receive(timeout=0)
        return ["down" if message == Down(ref, target, "bye") else message for message in rest]

    assert run(main, seed=1) == (["before", "after"] if flush else ["before", "down", "after"])


def test_e17_down_of_a_monitor_by_name_names_name_and_node() -> None:
    async def main() -> None:
        target = spawn(ender, "bye", name="target")
        ref = monitor("target")
        full = monitor(("target", self_pid().node))
        assert process_info(self_pid()).monitors == (("target", self_pid().node),) * 2  # type: ignore[union-attr]
        send(target, "end")
        downs = {(await receive(timeout=1)), (await receive(timeout=1))}
        assert downs == {Down(each, ("target", self_pid().node), "bye") for each in (ref, full)}

    run(main, seed=1)


def test_e17_monitor_by_name_watches_the_process_that_had_the_name_then() -> None:
    async def main() -> None:
        first = spawn(ender, "first", name="target")
        ref = monitor("target")
        send(first, "end")
        assert await receive(timeout=1) == Down(ref, ("target", self_pid().node), "first")
        second = spawn(ender, "second", name="target")
        send(second, "end")
        with pytest.raises(TimeoutError):
            await receive(timeout=1)

    run(main, seed=1)


@pytest.mark.parametrize("mode", ["scheduler", "trio"])
def test_e18_child_of_spawn_link_and_spawn_monitor_cannot_die_unseen(mode: str) -> None:
    async def stillborn() -> None:
        raise Stop("at once")

    async def main() -> None:
        process_flag("trap_exit", True)
        linked = spawn_link(stillborn, io=mode == "trio")
        assert await receive(timeout=1) == Exit(linked, "at once")
        watched, ref = spawn_monitor(stillborn, io=mode == "trio")
        assert type(ref) is Ref
        assert await receive(timeout=1) == Down(ref, watched, "at once")

    run(main, seed=1)


def test_e19_name_of_a_dead_process_is_free_when_its_down_or_exit_comes() -> None:
    async def main() -> None:
        process_flag("trap_exit", True)
        for _ in range(10):
            victim = spawn_link(ender, "bye", name="the name")
            ref = monitor(victim)
            send(victim, "end")
            first = await receive(timeout=1)
            assert whereis("the name") is None
            register("the name", spawned := spawn(sleeper))
            second = await receive(timeout=1)
            assert {first, second} == {Exit(victim, "bye"), Down(ref, victim, "bye")}
            exit(spawned, "kill")

    run(main, seed=1)


def test_e19_dead_process_gets_no_name_in_its_finally_block() -> None:
    async def greedy() -> None:
        try:
            await sleeper()
        finally:
            register("taken")

    async def main() -> Any:
        victim, _ = spawn_monitor(greedy)
        await sleep(0.1)
        exit(victim, "boom")
        await receive(Down)
        await sleep(1)
        register("taken")
        return whereis("taken") == self_pid()

    assert run(main, seed=1) is True


def test_e19_dead_process_links_with_nobody_in_its_finally_block() -> None:
    async def greedy(peer: Pid) -> None:
        try:
            await sleeper()
        finally:
            link(peer)

    async def main() -> Any:
        victim, _ = spawn_monitor(greedy, self_pid())
        await sleep(0.1)
        exit(victim, "boom")
        await receive(Down)
        await sleep(1)
        return process_info(self_pid()).links  # type: ignore[union-attr]

    assert run(main, seed=1) == ()


@pytest.mark.parametrize(
    ("reason", "quiet"),
    [
        ("normal", True),
        ("shutdown", True),
        (("shutdown", None), True),
        (("shutdown", ("any", "term")), True),
        (("shutdown",), False),
        (("shutdown", 1, 2), False),
        (("normal", 1), False),
        ("killed", False),
        ("kill", False),
        (None, False),
        (["shutdown", 1], False),
        ((("ValueError", "normal"), ()), False),
    ],
)
def test_quiet_reasons_are_normal_shutdown_and_shutdown_with_a_term(reason: Any, quiet: bool) -> None:
    assert is_quiet(reason) is quiet


def test_crash_is_never_reported_as_normal() -> None:
    async def body() -> None:
        raise Exception("normal")

    async def main() -> Any:
        spawn_monitor(body)
        return (await receive(timeout=1)).reason

    assert run(main, seed=1)[0] == ("Exception", "normal")


# --- towards other nodes --------------------------------------------------------------------------------------------------


class RecordingRouter:
    """Reaches nobody, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.asked.append((name, *args))


ELSEWHERE = ("logger", "other@host")


def test_e16_demonitor_of_a_name_of_another_node_reaches_that_node() -> None:
    async def main() -> None:
        router: Any = RecordingRouter()
        install(router)
        ref = monitor(ELSEWHERE)
        assert demonitor(ref)
        assert router.asked == [("monitor", self_pid(), ref, ELSEWHERE), ("demonitor", self_pid(), ref, ELSEWHERE)]

    run(main, seed=1)


def test_e16_end_of_who_monitors_a_name_of_another_node_reaches_that_node() -> None:
    async def watcher() -> None:
        monitor(ELSEWHERE)

    async def main() -> None:
        router: Any = RecordingRouter()
        install(router)
        pid, _ = spawn_monitor(watcher)
        await receive(Down, timeout=1)
        (_, *watched), (what, *unwatched) = router.asked
        assert what == "demonitor"
        assert watched == unwatched == [pid, watched[1], ELSEWHERE]

    run(main, seed=1)
