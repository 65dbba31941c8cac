"""What `mypy --strict` must see in calls; checked by test_gen_server.py, never run."""

from typing import Any, assert_type

from beamlike.behaviours.requests import Request, call
from beamlike.records import record


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


async def plain(anything: Any) -> None:
    for request in (None, 1, "a", b"a", [1], {"a": 1}, {1}, ("a", 1), Untyped, main):
        assert_type(await call("bank", request), Any)
    assert_type(await call("bank", None), Any)
    assert_type(await call("bank", [1]), Any)
    assert_type(await call("bank", "text"), Any)
    await call("bank", anything)
