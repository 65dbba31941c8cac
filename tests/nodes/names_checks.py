"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

from typing import Any

from in_system import begin_to_kill, conductor, do_at, kill, kill_service, lose_connection, others, stay, until_down, until_up

from beamlike import (
    BadNameError,
    CallTimeoutError,
    Down,
    GenServer,
    Pid,
    exit,
    monitor,
    receive,
    self_pid,
    send,
    sleep,
    spawn_at,
    spawn_monitor,
)
from beamlike.seam import NodeId
from nodes import global_names, list_nodes
from nodes.fellows import Fellow
from nodes.global_names import SERVICE, call_global, register_global, registered_global, send_global, unregister_global, whereis_global
from nodes.here import joined
from nodes.leading import Deserted, Led, Question


def holder_of(name: str) -> Pid:
    pid = whereis_global(name)
    assert pid is not None
    return pid


async def whereis(name: str) -> Pid | None:
    return whereis_global(name)


async def everywhere(name: str) -> set[Pid | None]:
    return {await do_at(node, whereis, name) for node in list_nodes()}


async def check_a_name_is_known_on_every_node_when_register_returns() -> None:
    for number in range(20):
        for node in list_nodes():
            name = f"known{number}{node}"
            pid = await stay(node, register_global, name)
            assert await everywhere(name) == {pid}
            send_global(name, ("echo", self_pid(), number))
            assert await receive(timeout=5) == number
            exit(pid, "kill")


async def check_a_taken_name_is_refused_and_the_error_names_its_holder() -> None:
    for holder_node in list_nodes():
        for node in list_nodes():
            name = f"taken{holder_node}{node}"
            holder = await stay(holder_node, register_global, name)
            try:
                await do_at(node, register_global, name)
            except AssertionError as error:
                assert str(error).startswith("BadNameError") and str(holder) in str(error), error
            else:
                raise AssertionError("it was given twice")
            assert await everywhere(name) == {holder}
            await do_at(node, register_global, name, holder)  # to its holder again: nothing
            exit(holder, "kill")


async def check_of_many_that_want_one_name_exactly_one_gets_it() -> None:
    for turn in range(20):
        name = f"wanted{turn}"
        pids = [await spawn_at(node, contend, name, self_pid()) for node in list_nodes() * 3]
        for pid in pids:
            send(pid, "go")
        got = [await receive(timeout=5) for _ in pids]
        winners = [pid for pid, outcome in got if outcome == "mine"]
        assert len(winners) == 1, got
        assert {outcome for _, outcome in got} == {"mine", f"taken by {winners[0]}"}, got
        assert await everywhere(name) == {winners[0]}
        for pid in pids:
            exit(pid, "kill")


async def contend(name: str, who: Pid) -> None:
    await receive()
    try:
        await register_global(name)
        outcome = "mine"
    except BadNameError as error:
        outcome = str(error).partition(" is ")[2].partition(":")[0]
    send(who, (self_pid(), outcome))
    await receive()


async def check_a_name_is_free_when_unregister_returns() -> None:
    for node in list_nodes():
        pid = await stay(others()[0], register_global, "moving")
        await do_at(node, unregister_global, "moving")
        assert await everywhere("moving") == {None}
        again = await stay(node, register_global, "moving")
        assert again != pid
        await unregister_global("moving")
    try:
        await unregister_global("moving")
    except BadNameError:
        return
    raise AssertionError("nobody had it")


async def check_a_name_is_free_when_its_holder_ends() -> None:
    for holder_node in list_nodes():
        for node in list_nodes():
            pid = await stay(holder_node, register_global, "mortal")
            ref = monitor(pid)
            exit(pid, "kill")
            await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref)
            other = await stay(node, register_global, "mortal")  # at once, wherever that is
            assert await everywhere("mortal") == {other}
            await unregister_global("mortal")


async def check_a_process_may_have_several_names_and_all_are_free_when_it_ends() -> None:
    pid = await stay(others()[1], have_two)
    assert await everywhere("one") == await everywhere("two") == {pid}
    assert {"one", "two"} <= set(registered_global())
    exit(pid, "kill")
    monitor(pid)
    await receive()
    await register_global("one")
    await register_global("two")


async def have_two() -> None:
    await register_global("one")
    await register_global("two")


async def check_a_dead_process_gets_no_name() -> None:
    pid, _ = spawn_monitor(nothing)
    await receive()
    for dead in (pid, await spawn_at(others()[1], nothing)):
        try:
            await register_global("ghost", dead)
        except BadNameError as error:
            assert "not alive" in str(error)
        else:
            raise AssertionError("it got one")
    assert whereis_global("ghost") is None


async def nothing() -> None:
    pass


async def check_what_is_no_name_is_refused() -> None:
    for wrong, expected in ((5, TypeError), ("", ValueError)):
        try:
            await register_global(wrong)  # type: ignore[arg-type]
        except expected:
            pass
        else:
            raise AssertionError(wrong)
    try:
        await register_global("x", "y")  # type: ignore[arg-type]
    except TypeError:
        pass
    else:
        raise AssertionError
    try:
        send_global("nobody", 1)
    except BadNameError:
        return
    raise AssertionError


async def check_the_names_of_a_lost_node_are_free() -> None:
    node = others()[1]
    await stay(node, register_global, "lost")
    await kill(node)
    pid = await stay(others()[0], register_global, "lost")
    assert await everywhere("lost") == {pid}
    exit(pid, "kill")


async def check_a_lost_conductor_loses_no_name_of_others() -> None:
    eldest = others()[0]
    kept = [await stay(node, register_global, f"kept{number}") for number, node in enumerate(list_nodes()) if node != eldest]
    names = [f"kept{number}" for number, node in enumerate(list_nodes()) if node != eldest]
    await kill(eldest)
    for name, pid in zip(names, kept, strict=True):
        while await everywhere(name) != {pid}:  # its node is there again, and may have to learn of the name
            assert await everywhere(name) <= {pid, None}
            await sleep(0.01)
        try:
            await register_global(name)
        except BadNameError as error:
            assert str(pid) in str(error)
        else:
            raise AssertionError("it was given twice")
    for pid in kept:
        exit(pid, "kill")


async def check_registrations_in_flight_end_when_the_conductor_dies() -> None:
    for turn in range(5):
        eldest = others()[0]
        pids = [await spawn_at(node, contend, f"flight{turn}.{number % 10}", self_pid()) for number in range(10) for node in list_nodes()]
        for pid in pids:
            send(pid, "go")
        begin_to_kill(eldest)
        living = [pid for pid in pids if pid.node != eldest]
        got = dict(
            [await receive(lambda message, living=living: isinstance(message, tuple) and message[0] in living, timeout=10) for _ in living]
        )
        for number in range(10):
            rivals = pids[number * 4 : number * 4 + 4]
            winners = [pid for pid in rivals if got.get(pid) == "mine"]
            dead = [pid for pid in rivals if pid.node == eldest]
            losers_to_dead = [pid for pid in rivals if pid in got and got[pid] == f"taken by {dead[0]}"]
            assert len(winners) <= 1, (winners, got)
            assert winners or losers_to_dead, got
            for pid in rivals:
                if pid in got and pid not in winners:
                    assert got[pid] in {f"taken by {each}" for each in [*winners, *dead]}, got
        for pid in pids:
            exit(pid, "kill")
        await until_down(eldest)
        await until_up(4)


class Echo(GenServer):
    async def init(self, name: str) -> None:
        await register_global(name)

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return request


async def check_a_call_waits_for_a_holder() -> None:
    spawn_monitor(call_and_tell, "late", self_pid())
    await do_at(others()[1], Echo.start, "late")
    assert await receive(lambda message: message == ("answer", 5), timeout=5)
    exit(holder_of("late"), "kill")


async def call_and_tell(name: str, who: Pid) -> None:
    send(who, ("answer", await call_global(name, 5)))


async def check_a_call_without_a_holder_times_out() -> None:
    try:
        await call_global("never", 1, timeout=0.05)
    except CallTimeoutError as error:
        assert "nobody had it" in str(error)
    else:
        raise AssertionError


async def check_a_call_to_who_has_just_ended_goes_to_the_next() -> None:
    await do_at(others()[1], Echo.start, "next")
    for _ in range(20):
        pid = holder_of("next")
        exit(pid, "kill")
        await spawn_at(others()[2], start_when_free, "next")
        assert await call_global("next", 7) == 7
    exit(holder_of("next"), "kill")


async def start_when_free(name: str) -> None:
    await Echo.start(name)


async def check_names_stay_and_are_unique_when_the_service_is_killed_on_any_node() -> None:
    for node in list_nodes():  # the conductor's, which leads, as well
        pids = {name: await stay(at, register_global, name) for at in list_nodes() for name in [f"survives{node}{at}"]}
        await do_at(node, kill_service, SERVICE)
        for name, pid in pids.items():
            try:
                await do_at(node, register_global, name)
            except AssertionError as error:
                assert str(error).startswith("BadNameError") and str(pid) in str(error), error
            else:
                raise AssertionError("it was given twice")
        after = await stay(node, register_global, f"after{node}")
        assert await everywhere(f"after{node}") == {after}
        for pid in (after, *pids.values()):
            exit(pid, "kill")


async def check_names_are_given_and_known_after_a_connection_was_lost() -> None:
    leads = conductor()
    for other in [name for name in others() if name != leads]:
        before = {f"before{node}": await stay(node, register_global, f"before{node}") for node in (leads, other)}
        await lose_connection(leads, other)
        after = {f"after{node}": await stay(node, register_global, f"after{node}") for node in (other, leads)}
        for name, pid in (before | after).items():
            assert await everywhere(name) == {pid}
            exit(pid, "kill")


async def check_a_fellow_greets_again_while_only_the_connection_is_lost() -> None:
    fellow = Fellow()
    fellow.service = "of nobody"
    node = others()[0]
    life = joined().membership.members[node].id
    fellow._greet(node)
    for _ in range(3):
        (ref,) = fellow.greeted
        await receive(lambda message, ref=ref: isinstance(message, Down) and message.ref == ref)  # it says that there is nobody
        await fellow.handle_info(Down(ref, None, "noconnection"))
        assert list(fellow.greeted.values()) == [life] and not fellow.absent
    (ref,) = fellow.greeted
    await fellow.handle_info(await receive(lambda message: isinstance(message, Down) and message.ref == ref))
    assert fellow.absent == {life} and not fellow.greeted


async def check_who_obeyed_a_leader_that_is_lost_tells_the_eldest_and_is_asked() -> None:
    await do_at(next(node for node in list_nodes() if node != conductor()), desert)


async def desert() -> None:
    """This process stands for all that are told something."""
    eldest = joined().membership.conductor()
    deserter = Led()
    deserter.obeys = Pid(NodeId("n9@nowhere", 1), 1)
    deserter.fellows[eldest] = self_pid()
    for _ in range(2):  # told once
        deserter.nodes_changed()
    assert await receive(timeout=5) == Deserted(self_pid())
    leader = Led()
    leader.obeys, leader.round = self_pid(), 7
    leader.fellows[eldest] = self_pid()
    await leader.handle_info(Deserted(self_pid()))
    assert await receive(timeout=5) == Question(self_pid(), 7)


async def check_the_leader_looks_whether_a_holder_on_its_own_node_lives() -> None:
    await do_at(conductor(), have_a_ghost, "haunted")
    await register_global("haunted")
    assert await everywhere("haunted") == {self_pid()}
    await unregister_global("haunted")


async def have_a_ghost(name: str) -> None:
    """Of a process that has just ended, and the service is not told yet."""
    pid, _ = spawn_monitor(nothing)
    await receive()
    global_names._holders[name] = pid
