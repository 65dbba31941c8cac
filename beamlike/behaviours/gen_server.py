"""GenServer: a process that answers calls, by OTP's `gen_server` (G1–G7).

    class Counter(GenServer):
        async def init(self, start: int) -> None:
            self.count = start

        async def handle_call(self, request: int, caller: Caller) -> int:
            self.count += request
            return self.count

    counter = await Counter.start_link(10, name="counter")
    await call(counter, 5)  # 15

The state of a server is its attributes. It does one thing at a time: while a handler awaits, other messages wait in the mailbox.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import caps
from beamlike.behaviours.behaviour import Behaviour
from beamlike.behaviours.starting import IGNORE
from beamlike.behaviours.system import Control, SystemRequest
from beamlike.exclusions import Refused, Under, is_refused_for_another, refusal
from beamlike.exits import NOREPLY as NOREPLY
from beamlike.exits import CallError, Exit, Stop
from beamlike.hot import scheduler
from beamlike.hot.calls import Call, Caller, Cast, release_caller, reply
from beamlike.reports import shown

log = logging.getLogger("beamlike.gen_server")


class Continue:
    """Returned by a handler: go on with `handle_continue(value)` before any other message. From `handle_call` it may bring the answer."""

    __slots__ = ("reply", "value")

    def __init__(self, value: Any = None, reply: Any = NOREPLY) -> None:
        self.value = value
        self.reply = reply


class GenServer(Behaviour):
    """Subclass it and override the handlers.

    In any of them `raise Stop(reason, reply)` ends the server, and answers the call being handled if `reply` is given, after `terminate`.
    Any other exception ends it as well, whatever kind of message it handled (G5); callers that wait learn the reason.
    `init` and the handlers may return `Continue(value)`.

    `class Vault(GenServer, guarded=True)` handles each call and cast under its own exclusions and those of who made it (C8), so that a
    limited process gains nothing by asking a strong one; what a handler spawns inherits both. Of any other message, which `handle_info`
    gets, the sender is not known: a guarded server does nothing upon them that its callers may not do. Subclasses are guarded as well.
    """

    guarded: ClassVar[bool] = False

    def __init_subclass__(cls, *, guarded: bool | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if guarded is not None:
            if type(guarded) is not bool or cls.guarded > guarded:
                raise TypeError(f"{cls.__qualname__}: guarded is True, or left out to do as its base class does, not {guarded!r}")
            cls.guarded = guarded

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        """Answer a call by what is returned. After `return NOREPLY`, `reply(caller, value)` answers it, from any process (G2)."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle_call; it was asked {shown(request)}")

    async def handle_cast(self, request: Any) -> Continue | None:
        """Do what a cast asks."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle_cast; it was sent {shown(request)}")

    async def handle_info(self, message: Any) -> Continue | None:
        """Take any other message: `Down`, the `Exit` of who is not the parent, what came by `send`."""
        log.warning("%s %s got a message it does not expect: %s", type(self).__qualname__, scheduler.self_pid(), shown(message))
        return None

    async def handle_continue(self, value: Any) -> Continue | None:
        """Go on after `Continue(value)`."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle_continue; it was to go on with {shown(value)}")

    async def _set_up(self, args: tuple[Any, ...]) -> Any:
        outcome = await self.init(*args)
        if outcome is not None and outcome is not IGNORE:
            self._check(outcome, "init")
        return outcome

    async def _serve(self, control: Control, outcome: Any) -> None:
        receive = scheduler.receive
        extra = control.extra
        is_guarded = self.guarded
        if outcome is not None:
            await self._go_on(outcome, "init")
        while True:
            message = extra.last_message = await receive()
            kind = type(message)
            if control.is_watched:
                control.saw(message)
            if kind is Call:
                caller, request = message.caller, message.request
                if type(request) is SystemRequest:
                    await control.handle(message)
                    continue
                if is_guarded and message.layers:
                    await self._handle_limited(control, message)
                    continue
                answer = await self.handle_call(request, caller)
                if answer is NOREPLY:
                    release_caller(caller)
                elif type(answer) is Continue:
                    control.reply(caller, answer.reply)
                    await self._go_on(answer, "handle_call")
                elif control.is_watched:
                    control.reply(caller, answer)
                else:
                    reply(caller, answer)
                continue
            if kind is Cast:
                if is_guarded and message.layers:
                    await self._handle_limited(control, message)
                    continue
                outcome = await self.handle_cast(message.request)
            elif kind is Exit and message.sender == control.parent:
                raise Stop(message.reason)
            else:
                outcome = await self.handle_info(message)
            if outcome is not None:
                await self._go_on(outcome, "handle_cast" if kind is Cast else "handle_info")

    async def _handle_limited(self, control: Control, message: Call | Cast) -> None:
        """A request of a limited process, to a guarded server: all that comes of it is under the exclusions of both. What the limited
        one's alone refuse is its own affair: it is told, and the server goes on."""
        try:
            with Under(control.process, message.layers):
                if isinstance(message, Cast):
                    await self._go_on(await self.handle_cast(message.request), "handle_cast")
                    return
                answer = await self.handle_call(message.request, message.caller)
                is_more = type(answer) is Continue
                control.reply(message.caller, answer.reply if is_more else answer)
                if is_more:
                    await self._go_on(answer, "handle_call")
        except (caps.CapabilityError, CallError) as error:
            if not is_refused_for_another(control.process, error):
                raise
            if isinstance(message, Call):
                control.reply(message.caller, Refused(refusal(error)))
            else:
                log.warning("%s: a cast was refused, by the exclusions of who made it: %s", control.process.pid, error)

    async def _go_on(self, outcome: Any, handler: str) -> None:
        """A handler returned something."""
        while outcome is not None:
            self._check(outcome, handler)
            outcome = await self.handle_continue(outcome.value)
            handler = "handle_continue"

    def _check(self, outcome: Any, handler: str) -> None:
        """TypeError unless a handler may return this."""
        if type(outcome) is not Continue:
            raise TypeError(f"{type(self).__qualname__}.{handler} returned {shown(outcome)}, expected None or Continue(value)")
