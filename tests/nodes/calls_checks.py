"""The checks of test_remote_calls.py: G1–G7 between nodes."""

from __future__ import annotations

import os
import signal
from typing import Any

from messages_checks import nothing_comes, nothing_is_held
from puppets import PATIENCE, make, node

from beamlike import (
    NOREPLY,
    Call,
    Caller,
    CallError,
    ChildSpec,
    Down,
    GenServer,
    Pid,
    Stop,
    Supervisor,
    call,
    cast,
    exit,
    monitor,
    process_info_at,
    receive,
    reply,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_at,
    spawn_monitor,
    system,
)
from nodes.here import joined


class Server(GenServer):
    """Does what the request says."""

    async def init(self, state: Any = 0) -> None:
        self.state = state

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case ("add", number):
                self.state += number
                return self.state
            case ("raise", text):
                raise ValueError(text)
            case ("stop", reason):
                raise Stop(reason)
            case ("stop and answer", reason, value):
                raise Stop(reason, value)
            case ("never",):
                return NOREPLY
            case ("have answered by", number, value):
                await spawn_at(node(number), answer, caller, value)
                return NOREPLY
            case ("call", server, inner):
                return await call(server, inner, timeout=PATIENCE)
            case ("call later", server, inner):
                self.asked = spawn(relay, caller, server, inner)
                return NOREPLY
            case ("wait", seconds):
                await sleep(seconds)
                return "waited"
            case ("die",):
                os.kill(os.getpid(), signal.SIGKILL)
                await sleep(PATIENCE)

    async def handle_cast(self, request: Any) -> None:
        who, value = request
        send(who, ("cast", value))


async def answer(caller: Caller, value: Any) -> None:
    reply(caller, value)


async def relay(caller: Caller, server: Any, inner: Any) -> None:
    try:
        reply(caller, await call(server, inner, timeout=PATIENCE))
    except CallError as error:
        reply(caller, ("failed", error.reason))


async def keep(boss: Pid, options: dict[str, Any]) -> None:
    """Starts a server and stays, for it is linked."""
    send(boss, ("server", await Server.start(**options)))


async def server_at(number: int, **options: Any) -> Pid:
    await spawn_at(node(number), keep, self_pid(), options)
    return (await receive(lambda message: type(message) is tuple and message[0] == "server", PATIENCE))[1]  # type: ignore[no-any-return]


async def failure(server: Any, request: Any, timeout: float | None = PATIENCE) -> Any:
    try:
        value = await call(server, request, timeout=timeout)
    except CallError as error:
        return error.reason
    raise AssertionError(f"it was answered: {value!r}")


async def check_g1_every_reason_of_a_call_without_an_answer(number: int) -> None:
    where = node(number)
    server = await server_at(number, name="server")
    assert await call(server, ("add", 2)) == 2
    assert await call(("server", where), ("add", 3)) == 5
    assert await failure(server, ("never",), timeout=0.02) == "timeout"
    (kind, text), stack = await failure(server, ("raise", "so"))
    assert (kind, text) == ("ValueError", "so")
    assert stack
    assert await failure(server, ("add", 1)) == "noproc"
    for reason in ("normal", "shutdown", ("boom", [1])):
        assert await failure(await server_at(number), ("stop", reason)) == reason
    assert await call(await server_at(number), ("stop and answer", "normal", "bye")) == "bye"
    victim = await server_at(number)
    assassin = spawn(kill_when_called, victim)
    assert await failure(victim, ("wait", PATIENCE)) == "killed"
    assert assassin is not None
    if number != 1:
        assert await failure(("nobody", where), "please") == "noproc"
        await nothing_is_held(number)
    assert await failure(("nobody", "nowhere@at.all"), "please") == "noconnection"
    await nothing_comes()


async def kill_when_called(victim: Pid) -> None:
    while True:
        info = await process_info_at(victim)
        assert info is not None
        if info.current_function is not None and "handle_call" in info.current_function:
            exit(victim, "kill")
            return


async def check_g1_calls_in_flight_when_the_node_is_killed_are_noconnection(number: int) -> None:
    server = await server_at(number)
    waiting = [spawn_monitor(waiter, self_pid(), server) for _ in range(50)]
    assert await failure(server, ("die",)) == "noconnection"
    for _ in waiting:
        assert await receive(lambda message: type(message) is tuple, PATIENCE) == ("reason", "noconnection")
    assert await failure(server, ("add", 1)) == "noconnection"


async def waiter(boss: Pid, server: Pid) -> None:
    send(boss, ("reason", await failure(server, ("wait", PATIENCE), None)))


async def check_g2_answers_of_others_and_the_watch_is_removed(number: int) -> None:
    server = await server_at(number)
    for by in (1, 2, 3):
        assert await call(server, ("have answered by", by, [by])) == [by]
    for _ in range(100):
        await call(server, ("add", 1))
    if number != 1:
        await process_info_at(server)
        await nothing_is_held(number)


async def check_cast_reaches_the_server_in_order(number: int) -> None:
    server = await server_at(number, name="caster")
    for value in range(100):
        cast(server if value % 2 else ("caster", node(number)), (self_pid(), value))
    assert [(await receive(timeout=PATIENCE))[1] for _ in range(100)] == list(range(100))


async def keep_supervisor(boss: Pid) -> None:
    from beamlike import process_flag

    process_flag("trap_exit", True)
    send(boss, ("supervisor", await Supervisor.start_link([ChildSpec("one", Server.start_link)])))
    await receive(lambda message: False)


async def check_supervisor_of_another_node_is_asked_and_told(number: int) -> None:
    await spawn_at(node(number), keep_supervisor, self_pid())
    _, supervisor = await receive(timeout=PATIENCE)
    (child,) = await Supervisor.which_children(supervisor)
    assert child.pid is not None
    assert child.id == "one"
    assert await call(child.pid, ("add", 1)) == 1
    second = await Supervisor.start_child(supervisor, ChildSpec("two", Server.start_link, (10,)))
    assert second.node == node(number)
    assert await call(second, ("add", 1)) == 11
    ref = monitor(second)
    exit(second, "kill")
    assert await receive(timeout=PATIENCE) == Down(ref, second, "killed")
    again = {each.id: each.pid for each in await Supervisor.which_children(supervisor)}["two"]
    assert again is not None
    assert again != second
    assert await call(again, ("add", 1)) == 11
    await Supervisor.terminate_child(supervisor, "two")
    assert await process_info_at(again) is None
    assert {each.id: each.status for each in await Supervisor.which_children(supervisor)} == {"one": "running", "two": "stopped"}


async def check_sys_functions_work_on_a_server_of_another_node(number: int) -> None:
    server = await server_at(number)
    assert (await system.get_state(server))["state"] == 0
    assert (await system.replace_state(server, one_more))["state"] == 1
    await system.suspend(server)
    assert await failure(server, ("add", 1), timeout=0.02) == "timeout"
    await system.resume(server)
    assert await call(server, ("add", 1)) == 3
    assert (await system.get_status(server)) is not None
    ref = monitor(server)
    await system.stop(server)
    assert await receive(timeout=PATIENCE) == Down(ref, server, "normal")


def one_more(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "state": state["state"] + 1}


async def busy(boss: Pid) -> None:
    send(boss, "busy")
    while True:
        pass


async def check_process_info_at_busy_and_dead_and_remote_processes(number: int) -> None:
    other = await make(number, name="puppet")
    await other.seen()
    info = await process_info_at(other.pid)
    assert info is not None
    assert (info.pid, info.registered_name, info.status, info.mailbox_length) == (other.pid, "puppet", "receiving", 0)
    assert self_pid() in info.monitored_by
    assert self_pid() == info.ancestors[0]
    assert info.initial_call == "puppets:puppet"
    await other.end("normal")
    assert await process_info_at(other.pid) is None
    pid = await spawn_at(node(number), busy, self_pid())
    assert await receive(timeout=PATIENCE) == "busy"
    info = await process_info_at(pid)
    assert info is not None
    assert info.current_function == "busy"
    exit(pid, "kill")


# --- G7 ------------------------------------------------------------------------------------------------------------------


def nested(path: list[Pid], inner: Any) -> Any:
    """The request that has each server of the path call the next one."""
    for server in reversed(path):
        inner = ("call", server, inner)
    return inner


async def check_g7_cycle_of_calls_over_nodes_fails_and_names_the_cycle(*numbers: int) -> None:
    servers = [await server_at(number) for number in numbers]
    refs = {monitor(server): server for server in servers}
    reason = await failure(servers[0], nested([*servers[1:], servers[0]], ("add", 1)), timeout=None)
    assert "the call would wait for itself: " in str(reason), reason
    for server in set(servers):
        assert str(server) in str(reason)
    ends = {(await receive(lambda message: isinstance(message, Down), PATIENCE)).ref for _ in refs}  # a bug of each of them, as on one node
    assert ends == set(refs)


async def check_g7_call_that_is_long_but_no_cycle_goes_on() -> None:
    servers = [await server_at(number) for number in (2, 3, 2, 1)]
    assert await call(servers[0], nested(servers[1:], ("wait", 0.2))) == "waited"


async def check_g7_server_that_answers_later_is_no_part_of_a_cycle() -> None:
    one, other = await server_at(2), await server_at(3)
    assert await call(one, ("call later", other, ("call", one, ("add", 5)))) == 5
    assert await call(one, ("call later", other, ("call", one, ("wait", 0.1)))) == "waited"


async def check_g7_of_a_cycle_that_closes_at_both_ends_at_once_not_all_need_fail() -> None:
    """Two processes call each other in the same moment, again and again: no call hangs."""
    for _ in range(10):
        one, other = [await spawn_at(node(number), caller_of_other, self_pid()) for number in (2, 3)]
        send(one, other)
        send(other, one)
        told = [await receive(lambda message: type(message) is tuple, PATIENCE) for _ in range(2)]
        reasons = dict(told)
        cyclic = [pid for pid, reason in reasons.items() if type(reason) is tuple and reason[0] == "calling_itself"]
        assert len(cyclic) == 1, reasons
        assert reasons[cyclic[0]] == ("calling_itself", (cyclic[0], *(pid for pid in reasons if pid != cyclic[0]), cyclic[0]))


async def caller_of_other(boss: Pid) -> None:
    other = await receive(Pid, PATIENCE)
    try:
        send(boss, (self_pid(), await call(other, "please", timeout=PATIENCE)))
    except CallError as error:
        send(boss, (self_pid(), error.reason))
    try:
        message = await receive(Call, 1.0)
    except TimeoutError:
        return
    reply(message.caller, "answered")


async def check_g7_cycle_that_a_call_on_one_node_closes_is_found() -> None:
    """a (here) waits for b (there), b for c (here), and c for a: the last call leads to its own node."""
    a, c = await server_at(1), await server_at(1)
    b = await server_at(2)
    reason = await failure(a, ("call", b, ("call", c, ("call", a, ("add", 1)))), timeout=None)
    assert "the call would wait for itself: " in str(reason), reason


async def check_g7_ordinary_calls_send_no_probes() -> None:
    server = await server_at(2)
    cycles = joined().router.cycles
    for _ in range(1000):
        await call(server, ("add", 1))
    while cycles.is_armed:
        await sleep(0.01)
    assert not (cycles.young)
    assert not (cycles.older)
    assert not (cycles.due)
    assert not (cycles.probed)
