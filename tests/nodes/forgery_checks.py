"""Checks that test_services.py runs: what a process with exclusions cannot gain by talking to the runtime's own processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from in_system import do_at, others

import caps
from beamlike import (
    CallError,
    Cast,
    ChildSpec,
    GenServer,
    Pid,
    blocking,
    call,
    caller_layers,
    cast,
    pack,
    process_flag,
    processes,
    receive,
    register,
    self_pid,
    send,
    send_interval,
    sleep,
    spawn,
    spawn_at,
    tighten,
    unregister,
    whereis,
)
from beamlike.behaviours.system import SystemRequest
from nodes import (
    Connection,
    DistributedSupervisor,
    call_pair,
    global_names,
    groups,
    join,
    list_nodes,
    list_systems,
    members,
    overview,
    placing,
    start_pair,
    stop_pair,
)
from nodes.pair_ledger import StopPair

LIMITED = (("port_io", 0, 1),)


async def _try(boss: Pid, attempt: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        outcome: Any = await attempt(*args)
    except caps.CapabilityError:
        outcome = "refused"
    except CallError as error:
        outcome = error.reason[0] if type(error.reason) is tuple else error.reason
    send(boss, ("outcome", outcome))


async def tried(attempt: Callable[..., Awaitable[Any]], *args: Any, exclude: Any = LIMITED) -> Any:
    """What came of it when a process with these exclusions did it."""
    spawn(_try, self_pid(), attempt, args, exclude=exclude)
    return (await receive(("outcome",), timeout=5))[1]


async def say(service: Any, message: Any) -> str:
    send(service, message)
    return "sent"


async def ask(service: Any, request: Any) -> Any:
    return await call(service, request, 2)


async def find(service: str) -> Pid | None:
    return whereis(service)


async def check_no_service_is_reached_but_by_its_functions() -> None:
    far = others()[0]
    for service in (global_names.SERVICE, groups.SERVICE, placing.SERVICE, "$pairs", overview.SERVICE):
        near, there = whereis(service), await do_at(far, find, service)
        for name in (service, (service, self_pid().node), (service, far), near):
            assert await tried(say, name, "x") == "refused", name
            assert await tried(say, name, Cast("x")) == "refused", name
            assert await tried(ask, name, "x") == "refused", name
        assert await tried(ask, there, "x") == "excluded"


async def take_the_name_of(service: str, how: str) -> str:
    match how:
        case "unregister":
            unregister(service)
        case "register":
            register(service)
        case "spawn":
            spawn(find, service, name=service)
        case "there":
            await spawn_at(others()[0], find, service, name=service)
    return "taken"


async def check_nobody_with_exclusions_takes_the_name_of_a_service_and_is_one() -> None:
    for service in (global_names.SERVICE, "$pairs"):
        for how in ("unregister", "register", "spawn", "there"):
            assert await tried(take_the_name_of, service, how) == "refused", how
        assert whereis(service) is not None


async def start_and_ask(server: Pid, boss: Pid) -> Pid:
    child = await Escaped.start_link()
    send(boss, ("asked", await call(server, "layers")))
    return child


async def place(server: Pid, boss: Pid) -> None:
    await DistributedSupervisor.start_child("placed", ChildSpec(id="x", start=start_and_ask, args=(server, boss)))


class Telling(GenServer, guarded=True):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> Any:
        return [layer.terms for layer in caller_layers()]


async def check_what_a_service_does_for_a_process_it_asks_for_under_its_layers() -> None:
    server = await Telling.start_link()
    await DistributedSupervisor.start("placed", [])
    await tried(place, server, self_pid())
    assert await receive(("asked",), timeout=5) == ("asked", [LIMITED])
    await DistributedSupervisor.stop("placed")


async def say_in_a_thread(service: Any, message: Any) -> str:
    await blocking(send, service, message)
    return "sent"


async def check_what_is_sent_to_a_service_of_another_node_is_not_heard() -> None:
    await join("forged")
    there = await do_at(others()[0], find, groups.SERVICE)
    for message in (("left", "forged", (self_pid(),)), Cast(("leave", "forged", self_pid()))):
        assert await tried(say, there, message) == "sent"
        assert await tried(say_in_a_thread, there, message) == "sent"
    pair = await start_pair(Saying, name="saying")
    await call_pair(pair, (there, ("left", "forged", (self_pid(),))))
    await stop_pair(pair)
    await do_at(others()[0], _has_member, self_pid())
    assert members("forged") == [self_pid()]


async def _has_member(pid: Pid) -> None:
    assert members("forged") == [pid]


class Saying(GenServer):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> None:
        send(*request)


class Escaped(GenServer):
    async def init(self) -> None:
        pass


async def check_no_child_is_placed_without_the_exclusions_of_who_asks() -> None:
    spec = ChildSpec.of(Escaped, id="escaped")
    before = len(processes())
    assert await tried(ask, placing.SERVICE, ("add", "any", "escaped", pack(spec), (), None)) == "refused"
    assert len(processes()) == before


class Lasting(GenServer):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case ("ticks to", pid):
                send_interval(0.02, pid, "tick")
            case ("no more to", pid):
                await tighten(self_pid(), [("send", pid)])
        return request


async def stop_by_hand(name: str) -> Any:
    return await call_pair(name, StopPair("by hand"), 2)


async def stop_by_its_keeper(keeper: Pid, request: Any) -> Any:
    return await call(keeper, request, 2)


async def check_a_pair_is_ended_by_who_may_end_it() -> None:
    process_flag("trap_exit", True)
    keeper = await Lasting.start_link(name="lasting", backup=True)
    no_exit = (("exit", "all"),)
    assert await tried(stop_by_hand, "lasting", exclude=no_exit) == "excluded"
    assert (await tried(stop_by_its_keeper, keeper, StopPair("by hand"), exclude=no_exit))[0] == "error"
    assert (await tried(stop_by_its_keeper, keeper, SystemRequest("terminate", "by hand"), exclude=no_exit))[0] == "error"
    assert await call_pair("lasting", "there") == "there"
    assert await tried(stop_by_hand, "lasting") is True


async def cast_to(keeper: Pid) -> str:
    cast(keeper, "x")
    return "cast"


async def check_a_cast_to_a_keeper_by_who_may_not_send_to_the_pair_does_not_end_it() -> None:
    process_flag("trap_exit", True)
    keeper = await Lasting.start_link(name="keeps", backup=True)
    await tried(cast_to, keeper, exclude=[("only", ("send", keeper), ("send", self_pid()))])
    assert await call(keeper, "there") == "there"
    await stop_pair("keeps")


async def check_timers_of_a_pair_are_tightened_with_it() -> None:
    await start_pair(Lasting, name="ticking")
    sink = spawn(_count, self_pid())
    await call_pair("ticking", ("ticks to", sink))
    await receive("ticked".__eq__, timeout=5)
    await call_pair("ticking", ("no more to", sink))
    await sleep(0.05)
    send(sink, ("count", self_pid()))
    (_, before) = await receive(("counted",), timeout=5)
    await sleep(0.2)
    send(sink, ("count", self_pid()))
    assert await receive(("counted",), timeout=5) == ("counted", before)
    assert await call_pair("ticking", "there") == "there"


async def _count(boss: Pid) -> None:
    count = 0
    while True:
        match await receive():
            case "tick":
                count += 1
                if count == 1:
                    send(boss, "ticked")
            case ("count", asker):
                send(asker, ("counted", count))


class Guarded(GenServer, guarded=True):
    async def init(self) -> None:
        pass

    async def handle_call(self, request: Any, caller: Any) -> Any:
        cast(self_pid(), request)
        return "later"

    async def handle_cast(self, request: Any) -> None:
        send(request, ("under", len(caller_layers())))


async def later(name: str, boss: Pid) -> Any:
    return await call_pair(name, boss)


async def check_what_a_guarded_pair_tells_itself_is_done_under_the_same_layers() -> None:
    await start_pair(Guarded, name="guarded")
    assert await tried(later, "guarded", self_pid()) == "later"
    assert await receive(("under",), timeout=5) == ("under", 1)


async def attach() -> str:
    Connection(list_systems()[0])
    return "attached"


async def check_nobody_with_that_exclusion_attaches_to_the_system() -> None:
    assert len(list_nodes()) > 1
    assert await tried(attach, exclude=(("system", "attach"),)) == "refused"
