"""StateMachine: a process whose answer to an event depends on the state it is in, by OTP's `gen_statem`.

    class Door(StateMachine):
        async def init(self, code: str) -> str:
            self.code = code
            return "locked"

        async def locked(self, event: Any) -> str | None:
            match event:
                case Call(caller, ("unlock", code)):
                    reply(caller, code == self.code)
                    if code == self.code:
                        self.set_state_timeout(10.0)
                        return "open"
                case Cast("push"):
                    self.postpone()  # until the state changes
            return None

        async def open(self, event: Any) -> str | None:
            match event:
                case StateTimeout():
                    return "locked"
                case Cast("push"):
                    self.pushed += 1
            return None

A state is the name of an async method; it takes an event and returns the next state, or None to keep this one. Events are messages as they
came (`Call`, `Cast`, anything sent) and `StateTimeout`, `EventTimeout`, `Timeout`, `Enter`. For what is the same in all states, or for
states that are more than a name, override `handle_event`.

What a method asks for (`postpone`, `insert`, time-outs) is done when it has returned, in this order: the state changes; postponed events
come back, before all that waits; inserted events go before those; `Enter`; time-outs are set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from beamlike import clock
from beamlike.behaviours.asyncness import check_method
from beamlike.behaviours.behaviour import Behaviour
from beamlike.behaviours.starting import IGNORE
from beamlike.behaviours.system import Control, SystemRequest
from beamlike.exits import Exit, Stop
from beamlike.hot import scheduler
from beamlike.hot.calls import Call, release_caller
from beamlike.hot.ids import Ref
from beamlike.records import record
from beamlike.reports import shown


@record
class Enter:
    """The event of entering a state, if `state_enter` is set. `previous` is the state before; of the first state, that state itself."""

    previous: Any


@record
class StateTimeout:
    """`set_state_timeout` has run out."""

    value: Any = None


@record
class EventTimeout:
    """`set_event_timeout` has run out."""

    value: Any = None


@record
class Timeout:
    """`set_timeout` of this name has run out."""

    name: Any
    value: Any = None


@record
class Fired:
    """A machine's message to itself: one of its timers is due."""

    ref: Ref


class Timer:
    """A time-out that was set: `event` comes when `Fired(ref)` does."""

    __slots__ = ("event", "ref", "timer")

    def __init__(self, event: Any, seconds: float, queue: deque[Any]) -> None:
        self.event = event
        self.ref = scheduler.make_ref()
        self.timer: Ref | None = None
        if seconds == 0:
            queue.append(Fired(self.ref))  # before what has not been received yet
        else:
            self.timer = clock.send_after(seconds, scheduler.self_pid(), Fired(self.ref))


class StateMachine(Behaviour):
    """See the module. Its data are its attributes.

    In a state `raise Stop(reason, reply)` ends the machine, and answers the call being handled if `reply` is given, after `terminate`. Any
    other exception ends it as well. A call is answered by `reply(event.caller, value)`, in any state, from any process.
    """

    __slots__ = ("_asked", "_event", "_inserted", "_postponed", "_queue", "_state", "_timers", "_wants_postpone")

    state_enter: ClassVar[bool] = False
    """Whether `Enter` comes whenever a state is entered. It may set time-outs; it may not change the state, postpone or insert."""

    _state: Any
    _event: Any  # being handled
    _queue: deque[Any]  # events that come before those in the mailbox
    _postponed: list[Any]
    _inserted: list[Any]
    _wants_postpone: bool
    _timers: dict[Any, Timer]
    _asked: list[tuple[Any, float | None, Any]]  # time-outs to set or (None) to cancel: key, seconds, event

    async def init(self, *args: Any, **kwargs: Any) -> Any:
        """Set up and return the first state, or `IGNORE`. Time-outs may be set, events inserted."""
        raise NotImplementedError(f"{type(self).__qualname__} has no init, which returns the first state")

    async def handle_event(self, state: Any, event: Any) -> Any:
        """Do what the event asks for in this state, and return the next state; None keeps it. This one calls the method `state`."""
        return await getattr(self, state)(event)

    def check_state(self, state: Any) -> None:
        """TypeError unless it can be a state: here, the name of an async method of the subclass. Override it along with `handle_event`."""
        method = getattr(self, state, None) if type(state) is str else None
        if not callable(method) or hasattr(StateMachine, state):
            raise TypeError(f"{type(self).__qualname__} has no state {shown(state)}: a state is the name of a method of the subclass")
        check_method(type(self), state, method)

    # --- what a state may ask for ---

    @property
    def state(self) -> Any:
        """The state it is in."""
        return self._state

    def postpone(self) -> None:
        """Let the event being handled come again after the next change of state."""
        self._refuse_in_enter("postpone")
        self._wants_postpone = True

    def insert(self, event: Any) -> None:
        """Let `event` come next, before all that waits. Several come in the order in which they are inserted."""
        self._refuse_in_enter("insert")
        self._inserted.append(event)

    def set_state_timeout(self, seconds: float | None, value: Any = None) -> None:
        """Let `StateTimeout(value)` come in `seconds`, unless the state changes before. None cancels. Set again it starts anew."""
        self._ask_for(StateTimeout, seconds, StateTimeout(value))

    def set_event_timeout(self, seconds: float | None, value: Any = None) -> None:
        """Let `EventTimeout(value)` come in `seconds`, unless any other event comes before: of any kind, other time-outs as well."""
        self._ask_for(EventTimeout, seconds, EventTimeout(value))

    def set_timeout(self, name: Any, seconds: float | None, value: Any = None) -> None:
        """Let `Timeout(name, value)` come in `seconds`, whatever happens. None cancels. Set again it starts anew. Any number, by name."""
        self._ask_for((Timeout, name), seconds, Timeout(name, value))

    def _ask_for(self, key: Any, seconds: Any, event: Any) -> None:
        self._asked.append((key, None if seconds is None else scheduler.check_timeout(seconds), event))

    def _refuse_in_enter(self, what: str) -> None:
        if type(self._event) is Enter:
            raise RuntimeError(f"{what}() while a state is entered: Enter may only set time-outs and reply")

    # --- the process ---

    async def _set_up(self, args: tuple[Any, ...]) -> Any:
        self._state = self._event = None
        self._queue = deque()
        self._postponed, self._inserted, self._asked, self._timers = [], [], [], {}
        self._wants_postpone = False
        state = await self.init(*args)
        if state is not IGNORE:
            self.check_state(state)
        return state

    async def _serve(self, control: Control, outcome: Any) -> None:
        receive = scheduler.receive
        self._state = outcome
        await self._entered(outcome, outcome)
        while True:
            if self._queue:
                event = self._queue.popleft()
                control.extra.last_message = event
            else:
                event = control.extra.last_message = await receive()
                if type(event) is Call and type(event.request) is SystemRequest:
                    await control.handle(event)
                    continue
                if type(event) is Exit and event.sender == control.parent:
                    raise Stop(event.reason)
            if type(event) is Fired:
                event = self._expired(event.ref)
                if event is None:
                    continue  # cancelled when it was on its way
            self._cancel(EventTimeout)
            if control.is_watched:
                control.saw(event)
            await self._handle(event)
            if type(event) is Call:
                release_caller(event.caller)  # if it has no answer yet, somebody will give it later (G7)

    async def _handle(self, event: Any) -> None:
        """One event, and what follows from it."""
        self._event = event
        previous = self._state
        following = await self.handle_event(previous, event)
        if self._wants_postpone:
            self._wants_postpone = False
            self._postponed.append(event)
        if following is None or following == previous:
            self._settle()
            return
        self.check_state(following)
        self._state = following
        self._cancel(StateTimeout)
        self._queue.extendleft(reversed(self._postponed))
        self._postponed.clear()
        await self._entered(following, previous)

    async def _entered(self, state: Any, previous: Any) -> None:
        if self.state_enter:
            self._event = Enter(previous)
            following = await self.handle_event(state, self._event)
            if following is not None and following != state:
                raise TypeError(f"{type(self).__qualname__}: Enter in state {shown(state)} returned {shown(following)}, expected None")
        self._settle()

    def _settle(self) -> None:
        """Do what was asked for."""
        self._queue.extendleft(reversed(self._inserted))
        self._inserted.clear()
        for key, seconds, event in self._asked:
            self._cancel(key)
            if seconds is not None:
                self._timers[key] = Timer(event, seconds, self._queue)
        self._asked.clear()

    def _cancel(self, key: Any) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None and timer.timer is not None:
            clock.cancel_timer(timer.timer)

    def _expired(self, ref: Ref) -> Any:
        """The event of a timer that is due; None if it is none any more."""
        for key, timer in self._timers.items():
            if timer.ref == ref:
                del self._timers[key]
                return timer.event
        return None

    def get_state(self) -> Any:
        """`(state, attributes)`."""
        return self._state, super().get_state()

    def replace_state(self, fn: Callable[[Any], Any]) -> Any:
        """Go on with the `(state, attributes)` that `fn` makes of them."""
        made = fn(self.get_state())
        if type(made) is not tuple or len(made) != 2 or type(made[1]) is not dict:
            raise TypeError(f"the new state is (state, dict of attributes), not {shown(made)}")
        self.check_state(made[0])
        super().replace_state(lambda _: made[1])
        self._state = made[0]
        return made
