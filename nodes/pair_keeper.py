"""The keeper of a process pair: a process of this node that stands for the pair where a pid is wanted, above all below a supervisor.

It ends with the reason that the pair ends with, `noproc` if both halves were lost; told to exit, it ends the pair. Killed, or lost with its
node, it leaves the pair alone: whoever starts that again under its name gets another keeper of the same pair, with its state. So a
supervisor starts a pair anew only if there is none any more. Killed while it ends the pair, because that takes longer than its spec's
`shutdown`, it is the pair's own matter when its handler is through: then that ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import caps
from beamlike import (
    IGNORE,
    BadNameError,
    Call,
    Caller,
    CallError,
    Cast,
    Exit,
    GenServer,
    Pid,
    Started,
    Stop,
    process_flag,
    receive,
    reply,
    start_behaviour,
)
from beamlike.seam import SystemRequest, Under, check_name, current_process, join, known_as, start, tell
from nodes.here import joined
from nodes.pair_ledger import KindOfPair, StopPair, WatchPair
from nodes.pair_starting import start_pair
from nodes.pairs import ask_pair, tell_pair


async def start_kept(kind: type[Any], args: tuple[Any, ...], link: bool, options: dict[str, Any]) -> Pid:
    """`kind.start_link(*args, backup=True, **options)`: the pid of the keeper."""
    joined()
    name = options["name"]
    if name is None:
        raise ValueError(f"{kind.__qualname__} with backup=True needs a name: that is how it is found when its node is lost")
    check_name(name)
    for option in ("limits", "mailbox"):
        if options[option] is not None:
            raise ValueError(f"{kind.__qualname__} with backup=True takes no {option}")
    if not issubclass(kind, GenServer):
        raise TypeError(f"backup=True is for a GenServer, not {kind!r}")
    initial_call = f"{kind.__module__}:{kind.__qualname__}"
    return await start_behaviour(
        _keep, kind, name, *args, link=link, timeout=options["timeout"], exclude=options["exclude"], initial_call=initial_call
    )


async def _keep(started: Started, kind: type[GenServer], name: str, *args: Any) -> None:
    process_flag("trap_exit", True)
    try:
        pair: Any = await start_pair(kind, *args, name=name)
        if pair is IGNORE:
            started.ignore()
            return
    except BadNameError:
        if not await _is_of(kind, name):
            raise
    me = current_process()
    join(me, start(_watch, (me.pid, name), parent=me, runs=""))
    started.ok()
    while True:
        match await receive():
            case ("$ended", reason):
                raise Stop(reason)
            case Exit(_, reason):
                await _stop(name, reason)
            case Call(caller, SystemRequest("terminate", reason)) as message:
                try:
                    caps.require(message.layers, "exit", *known_as(me.pid))
                except caps.CapabilityError as error:
                    reply(caller, ("error", f"CapabilityError: {error}"))
                else:
                    await _stop(name, reason)
            case Call(caller, StopPair()):
                reply(caller, ("error", "a keeper is stopped by system.stop"))
            case Call(caller, request) as message:
                with Under(me, message.layers):
                    start(_pass_on, (caller, name, request), parent=me, runs="")
            case Cast(request) as message:
                with Under(me, message.layers):
                    tell_pair(name, request)
            case _:
                pass  # a message, that nobody expects here


async def _is_of(kind: type[GenServer], name: str) -> bool:
    """Is there such a pair, of this very class? Its primary may just have died."""
    try:
        return bool(await ask_pair(name, KindOfPair(), None) == f"{kind.__module__}:{kind.__qualname__}")
    except CallError:
        return False


async def _stop(name: str, reason: Any) -> None:
    with suppress(CallError):  # it has ended
        await ask_pair(name, StopPair(reason), None)
    raise Stop(reason)


async def _watch(keeper: Pid, name: str) -> None:
    """Tell the keeper when the pair has ended."""
    try:
        await ask_pair(name, WatchPair(), None)
    except CallError as error:
        tell(keeper, ("$ended", error.reason))


async def _pass_on(caller: Caller, name: str, request: Any) -> None:
    """A call to the keeper's pid. If the pair ends upon it the caller learns that when the keeper ends."""
    try:
        reply(caller, await ask_pair(name, request, None))
    except CallError:
        return
