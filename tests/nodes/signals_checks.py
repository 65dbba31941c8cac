"""The checks of test_remote_signals.py: the rules E1–E19 between two puppets, `one` and `other`, on nodes of the test's choice.

The process of the check is on node 1. A signal has taken effect when what was sent after it, on the same way, has come back (M1).
"""

from __future__ import annotations

import random
from typing import Any

from puppets import PATIENCE, Puppet, kill, make, node, pass_by

from beamlike import Down, Exit, Pid, Stop, demonitor, monitor, process_flag, process_info_at, receive, self_pid, send
from nodes.placement import spawn_link_at, spawn_monitor_at

REASONS = ["shutdown", "boom", "killed", ("shutdown", 1), ("a", [1, 2])]


async def pair(one: int, other: int, *, traps: bool = False, linked: bool = False) -> tuple[Puppet, Puppet]:
    """`traps`: the first of them."""
    first, second = await make(one), await make(other)
    if traps:
        await first.do("process_flag", "trap_exit", True)
    if linked:
        await first.do("link", second.pid)
        await pass_by(first, second)
        assert await first.links() == {second.pid}
        assert await second.links() == {first.pid}
    return first, second


async def check_e1_signal_of_a_link_that_is_no_longer_active_is_dropped(one: int, other: int) -> None:
    for _ in range(20):
        first, second = await pair(one, other, traps=True, linked=True)
        await first.do("unlink", second.pid)
        await second.end("boom")  # perhaps before the unlink has come there
        await pass_by(await make(other), first)  # behind what its end sent
        assert await first.seen() == ()
        assert await first.links() == set()


async def check_e2_normal_from_another_process_is_dropped(one: int, other: int) -> None:
    first, second = await pair(one, other)
    await first.do("exit", second.pid, "normal")
    await pass_by(first, second)
    assert await second.seen() == ()


async def check_e3_exit_of_oneself_with_normal_ends_the_process(one: int, other: int) -> None:
    first, second = await pair(one, other, linked=True)
    await second.do("process_flag", "trap_exit", True)
    first.tell("exit", first.pid, "normal")
    assert await first.ended() == "normal"
    assert await eventually_seen(second, first) == (Exit(first.pid, "normal"),)


async def check_e4_kill_cannot_be_trapped(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True)
    second.tell("exit", first.pid, "kill")
    assert await first.ended() == "killed"


async def check_e5_linked_process_that_ended_with_kill_is_a_message_to_one_that_traps(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True, linked=True)
    await second.end("kill")
    assert await eventually_seen(first, second) == (Exit(second.pid, "kill"),)


async def check_e6_linked_process_that_ended_with_kill_ends_one_that_does_not_trap_with_kill(one: int, other: int) -> None:
    first, second = await pair(one, other, linked=True)
    await second.end("kill")
    assert await first.ended() == "kill"


async def check_e7_links_of_a_killed_process_see_killed(one: int, other: int) -> None:
    for traps in (True, False):
        first, second = await pair(one, other, traps=traps, linked=True)
        first.tell("exit", second.pid, "kill")
        assert await second.ended() == "killed"
        if traps:
            assert await eventually_seen(first, second) == (Exit(second.pid, "killed"),)
        else:
            assert await first.ended() == "killed"


async def check_e8_any_other_signal_is_a_message_to_one_that_traps(one: int, other: int) -> None:
    for reason in ["normal", *REASONS]:
        first, second = await pair(one, other, traps=True, linked=True)
        await second.do("exit", first.pid, reason)
        await second.end(reason)
        assert await eventually_seen(first, second, 2) == (Exit(second.pid, reason), Exit(second.pid, reason))


async def check_e9_any_other_reason_ends_with_that_reason_and_its_links_see_it(one: int, other: int) -> None:
    for reason in REASONS:
        first, second = await pair(one, other, traps=True, linked=True)
        third = await make(one)
        await third.do("link", second.pid)
        await pass_by(third, second)
        first.tell("exit", third.pid, reason)
        assert [await third.ended(), await second.ended()] == [reason, reason]
        assert await eventually_seen(first, second) == (Exit(second.pid, reason),)


async def check_e10_link_to_a_process_that_does_not_exist_is_the_signal_noproc(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True)
    third = await make(one)
    await second.end("normal")
    first.tell("link", second.pid)
    assert await eventually_seen(first, second) == (Exit(second.pid, "noproc"),)
    assert await first.links() == set()
    third.tell("link", second.pid)
    assert await third.ended() == "noproc"


async def check_e12_monitor_of_what_does_not_exist_is_down_noproc(one: int, other: int) -> None:
    first, second = await pair(one, other)
    await second.end("normal")
    ref = await first.do("monitor", second.pid)
    named = await first.do("monitor", ("nobody", node(other)))
    assert await eventually_seen(first, second, 2) == (Down(ref, second.pid, "noproc"), Down(named, ("nobody", node(other)), "noproc"))
    info = await process_info_at(first.pid)
    assert info is not None
    assert info.monitors == ()


async def check_e14_uncaught_exception_is_type_text_and_stack_in_plain_terms(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True, linked=True)
    ref = await first.do("monitor", second.pid)
    send(second.pid, ("raise", "no such thing"))
    (kind, text), stack = reason = await second.ended()
    assert (kind, text) == ("LookupError", "no such thing")
    assert [(type(file), type(line), function) for file, line, function in stack] == [(str, int, "puppet")]
    assert set(await eventually_seen(first, second, 2)) == {Exit(second.pid, reason), Down(ref, second.pid, reason)}


async def check_e15_link_is_bidirectional(one: int, other: int) -> None:
    for victim in (0, 1):
        both = await pair(one, other, linked=True)
        send(both[victim].pid, ("end", "boom"))
        assert [await each.ended() for each in both] == ["boom", "boom"]


async def check_e15_at_most_one_link_a_pair_and_one_unlink_ends_it(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True, linked=True)
    for each, peer in ((first, second), (second, first), (first, second)):
        await each.do("link", peer.pid)
        await pass_by(each, peer)
    assert (await first.links(), await second.links()) == ({second.pid}, {first.pid})
    await first.do("unlink", second.pid)
    await pass_by(first, second)
    assert (await first.links(), await second.links()) == (set(), set())
    await first.do("link", second.pid)
    await pass_by(first, second)
    await second.end("boom")
    assert await eventually_seen(first, second) == (Exit(second.pid, "boom"),)


async def check_e15_exit_that_is_queued_already_stays_after_unlink(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True, linked=True)
    ref = await first.do("monitor", second.pid)
    await second.end("boom")
    await until_it_has(first, Down(ref, second.pid, "boom"), 2)
    await first.do("unlink", second.pid)
    assert set(await first.seen()) == {Exit(second.pid, "boom"), Down(ref, second.pid, "boom")}


async def check_e15_links_and_unlinks_of_both_that_cross_never_leave_half_a_link(one: int, other: int, seed: int) -> None:
    rng = random.Random(seed)
    both = first, second = await pair(one, other)
    for turn in range(50):
        for _ in range(rng.randrange(1, 12)):
            which = rng.randrange(2)
            both[which].tell(rng.choice(["link", "unlink"]), both[1 - which].pid)
            if rng.random() < 0.2:
                await both[rng.randrange(2)].seen()
        for _ in range(2):
            await pass_by(first, second)
            await pass_by(second, first)
        halves = second.pid in await first.links(), first.pid in await second.links()
        assert halves[0] == halves[1], (turn, halves)


async def check_e16_monitors_are_one_way_and_each_has_its_own_ref(one: int, other: int) -> None:
    first, second = await pair(one, other)
    third = await make(one)
    await third.do("monitor", second.pid)
    await pass_by(third, second)
    await third.end("boom")
    refs = [await first.do("monitor", second.pid) for _ in range(3)]
    assert len(set(refs)) == 3
    assert await first.do("demonitor", refs[1]) is True
    assert await first.do("demonitor", refs[1]) is False
    await second.end("bye")
    assert await eventually_seen(first, second, 2) == (Down(refs[0], second.pid, "bye"), Down(refs[2], second.pid, "bye"))


async def check_e16_demonitor_removes_a_queued_down_only_when_it_flushes(one: int, other: int) -> None:
    for flush in (False, True):
        second = await make(other)
        watcher, ref = await spawn_monitor_at(node(one), flusher, self_pid(), second.pid, flush)
        assert await receive(lambda message: message == "watching", PATIENCE)
        await second.end("bye")
        send(watcher, "look")
        assert await receive(lambda message: type(message) is int, PATIENCE) == (0 if flush else 1)
        assert (await receive(lambda message, ref=ref: type(message) is Down and message.ref == ref, PATIENCE)).reason == "normal"


async def flusher(boss: Pid, target: Pid, flush: bool) -> None:
    ref = monitor(target)
    again = monitor(target)
    send(boss, "watching")
    await receive(lambda message: message == "look", PATIENCE)
    await receive(lambda message: type(message) is Down and message.ref == again, PATIENCE)  # so the first one is there
    assert demonitor(ref, flush=flush) is False
    count = 0
    while True:
        try:
            await receive(timeout=0)
        except TimeoutError:
            break
        count += 1
    send(boss, count)


async def check_e17_down_of_a_monitor_by_name_names_name_and_node(one: int, other: int) -> None:
    first, second = await make(one), await make(other, name="target")
    where = ("target", node(other))
    ref = await first.do("monitor", where)
    info = await process_info_at(first.pid)
    assert info is not None
    assert info.monitors == (where,)
    await pass_by(first, second)
    await second.end("bye")
    assert await eventually_seen(first, second) == (Down(ref, where, "bye"),)
    again = await make(other, name="target")  # the name is another's now: the monitor was of who had it
    await again.end("bye")
    await pass_by(first, first)
    assert await first.seen() == ()


async def stillborn(number: int) -> None:
    raise Stop(("shutdown", number))


async def _spawner(boss: Pid, target: str, how: str, times: int) -> None:
    process_flag("trap_exit", True)
    for number in range(times):
        if how == "link":
            pid = await spawn_link_at(target, stillborn, number)
            assert await receive(timeout=PATIENCE) == Exit(pid, ("shutdown", number))
        else:
            pid, ref = await spawn_monitor_at(target, stillborn, number)
            assert await receive(timeout=PATIENCE) == Down(ref, pid, ("shutdown", number))
    send(boss, (how, "all seen"))


async def check_e18_child_of_spawn_link_and_spawn_monitor_cannot_die_unseen(one: int, other: int) -> None:
    for how in ("link", "monitor"):
        _, ref = await spawn_monitor_at(node(one), _spawner, self_pid(), node(other), how, 200)
        message = await receive(lambda message, ref=ref: type(message) is tuple or (type(message) is Down and message.ref == ref), PATIENCE)
        assert message == (how, "all seen")


async def check_e19_name_of_a_dead_process_is_free_when_its_down_comes(one: int, other: int) -> None:
    for _ in range(20):
        victim = await make(other, name="the name")
        watcher, _ = await spawn_monitor_at(node(one), taker, self_pid(), victim.pid, node(other))
        assert await receive(lambda message: message == "watching", PATIENCE)
        send(victim.pid, ("end", "bye"))
        assert await receive(lambda message: type(message) is tuple and message[0] == "taken", PATIENCE) == ("taken", watcher)
        await receive(lambda message: message == "given back", PATIENCE)


async def taker(boss: Pid, target: Pid, where: str) -> None:
    monitor(target)
    await process_info_at(target)  # so the monitor is there
    send(boss, "watching")
    await receive(Down, PATIENCE)
    _, ref = await spawn_monitor_at(where, nothing, name="the name")
    send(boss, ("taken", self_pid()))
    await receive(lambda message: type(message) is Down and message.ref == ref, PATIENCE)
    send(boss, "given back")


async def nothing() -> None:
    """Ends at once."""


# --- the node of one of them is lost -------------------------------------------------------------------------------------


async def check_e11_loss_of_the_node_of_a_linked_process_is_the_signal_noconnection(one: int, other: int) -> None:
    first, second = await pair(one, other, traps=True, linked=True)
    third = await make(one)
    await third.do("link", second.pid)
    await pass_by(third, second)
    await kill(other)
    assert await second.ended() == "noconnection"
    assert await third.ended() == "noconnection"
    assert await eventually_seen(first, second) == (Exit(second.pid, "noconnection"),)
    await first.do("link", second.pid)  # of a life that is over
    assert await eventually_seen(first, second) == (Exit(second.pid, "noconnection"),)
    assert await first.links() == set()


async def check_e13_loss_of_the_node_of_a_monitored_process_is_down_noconnection(one: int, other: int) -> None:
    first, second = await make(one), await make(other, name="target")
    where = ("target", node(other))
    refs = {await first.do("monitor", second.pid): second.pid, await first.do("monitor", where): where}
    await pass_by(first, second)
    await kill(other)
    assert await second.ended() == "noconnection"
    assert set(await eventually_seen(first, second, 2)) == {Down(ref, target, "noconnection") for ref, target in refs.items()}
    late = await first.do("monitor", second.pid)
    assert await eventually_seen(first, second) == (Down(late, second.pid, "noconnection"),)


async def check_e18_child_whose_node_is_lost_is_not_lost_unseen(one: int, other: int) -> None:
    pid, ref = await spawn_monitor_at(node(other), forever)
    await kill(other)
    assert await receive(lambda message: type(message) is Down and message.ref == ref, PATIENCE) == Down(ref, pid, "noconnection")


async def forever() -> None:
    await receive(lambda message: False)


async def check_e19_on_down_of_a_lost_node_its_names_are_gone(one: int, other: int) -> None:
    second = await make(other, name="the name")
    await kill(other)
    assert await second.ended() == "noconnection"
    first = await make(one)
    watch = await first.do("monitor", ("the name", node(other)))
    (down,) = await eventually_seen(first, second)
    assert down.ref == watch
    assert down.reason in ("noconnection", "noproc")


async def until_it_has(puppet: Puppet, message: Any, length: int) -> None:
    while True:
        info = await process_info_at(puppet.pid)
        assert info is not None
        seen = await puppet.seen()
        for each in seen:
            send(puppet.pid, each)  # back, in order
        await puppet.do("self_pid")
        if message in seen and len(seen) == length:
            return


async def eventually_seen(first: Puppet, second: Puppet, count: int = 1) -> tuple[Any, ...]:
    """What `first` has got, when it is so much, and no more that was on its way from a node that lives."""
    seen: tuple[Any, ...] = ()
    while len(seen) < count:
        seen += await first.seen()
    rest: tuple[Any, ...] = await first.seen()
    return seen + rest
