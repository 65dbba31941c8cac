"""What `mypy --strict` must see in calls and starts; checked by test_gen_server.py, never run."""

from typing import Any, assert_type

from beamlike import IGNORE, DynamicSupervisor, GenServer, Ignored, Pid, Request, Supervisor, Task, call, record


@record
class Balance(Request[int]):
    account: str


@record
class Names(Request[list[str]]):
    pass


@record
class Untyped:
    pass


async def main() -> None:
    assert_type(await call("bank", Balance("me")), int)
    assert_type(await call("bank", Names(), timeout=None), list[str])
    assert_type(await call("bank", Untyped()), Any)
    assert_type(await call("bank", ("balance", "me")), Any)
    number: str = await call("bank", Balance("me"))  # type: ignore[arg-type]  # --strict reports this ignore if it is not needed
    print(number)


class Server(GenServer):
    async def init(self, start: int) -> Ignored | None:
        return IGNORE if start < 0 else None


async def starts() -> None:
    pid: Pid = await Server.start_link(1)
    if pid is IGNORE:
        return
    assert_type(await Server.start(1), Pid)
    assert_type(await Supervisor.start_child(pid, Server), Pid)
    assert_type(await DynamicSupervisor.start_child(pid, Server), Pid)
    task: Task = Task.async_(main)
    print(await task)


async def plain(anything: Any) -> None:
    for request in (None, 1, "a", b"a", [1], {"a": 1}, {1}, ("a", 1), Untyped, main):
        assert_type(await call("bank", request), Any)
    assert_type(await call("bank", None), Any)
    assert_type(await call("bank", [1]), Any)
    assert_type(await call("bank", "text"), Any)
    await call("bank", anything)
