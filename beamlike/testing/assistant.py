"""A process that misbehaves as it is told, to see what its supervisor, its links and its callers do."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from beamlike.exits import Exit, Stop
from beamlike.hot.calls import Call, call, reply
from beamlike.hot.scheduler import Park, receive, self_pid, send
from beamlike.processes import process_flag


class AssistantError(Exception):
    """What an assistant raises that is told to crash."""


async def assistant() -> None:
    """The body of such a process: `spawn(assistant)`, `ChildSpec.of(assistant, name="worker")`. It answers a call with its request.

    What can be sent to it:

    - `("crash", text)`: it raises AssistantError(text);
    - `("exit", reason)`: it ends with that reason;
    - `("ignore_exits",)`: from now on it traps exits and does nothing about them, so that only `kill` ends it;
    - `("swallow",)`: from now on it swallows every exception, also the one that ends it, and waits again (P5);
    - `("call", server)`: it waits for the answer to a call, for ever;
    - `("hang",)`: it waits for ever and takes no message any more;
    - `("fill", number)`: it sends itself that many messages, and hangs;
    - `("compute",)`: it computes for ever, in Python. Without pre-emption (a seeded run has none) that stops its node;
    - `("block", seconds)`: it stops its node for so long, as a long call into C does.

    Anything else is a ValueError, which ends it.
    """
    while True:
        match await receive():
            case Call(caller, request):
                reply(caller, request)
            case Exit():
                pass
            case ("crash", str() as text):
                raise AssistantError(text)
            case ("exit", reason):
                raise Stop(reason)
            case ("ignore_exits",):
                process_flag("trap_exit", True)
            case ("swallow",):
                await _swallow()
            case ("call", server):
                await call(server, "assistant", timeout=None)
            case ("hang",):
                await _hang()
            case ("fill", int() as number):
                for index in range(number):
                    send(self_pid(), ("filling", index))
                await _hang()
            case ("compute",):
                while True:
                    pass
            case ("block", int() | float() as seconds):
                time.sleep(seconds)  # noqa: ASYNC251 - to block is the order
            case order:
                raise ValueError(f"an assistant has no order {order!r}: see beamlike.testing.assistant")


async def _hang() -> None:
    await receive(_nothing)


def _nothing(message: Any) -> bool:
    return False


async def _swallow() -> None:
    while True:
        try:
            await _hang()
        except BaseException:  # noqa: BLE001 - to swallow is the order
            with suppress(BaseException):
                await Park()  # in a process that has ended `receive` raises at once: it is to refuse, not to compute
