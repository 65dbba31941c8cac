"""What GenServer and StateMachine have in common: how they start, how they end, and their state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from beamlike.behaviours import starting
from beamlike.behaviours.asyncness import check_method
from beamlike.behaviours.starting import IGNORE, Started, start_behaviour
from beamlike.behaviours.system import Control
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid
from beamlike.limits import Limits, Mailbox
from beamlike.reports import shown


class Behaviour:
    """Base of GenServer and StateMachine. An instance is made in the process it describes, without arguments.

    A subclass that overrides an async method by a plain one is a TypeError where it is defined.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, own in vars(cls).items():
            handler = getattr(super(cls, cls), name, None)
            if inspect.iscoroutinefunction(handler) and handler.__module__.startswith(f"{__package__}."):
                check_method(cls, name, own)

    async def init(self, *args: Any, **kwargs: Any) -> Any:
        """Set up; `start_link` returns when this does. `return IGNORE` declines: there will be no process, and that is no error."""
        if args:
            raise TypeError(f"{type(self).__qualname__} has no init, but was given {len(args)} argument(s)")

    async def terminate(self, reason: Any) -> None:
        """Clean up. Runs when it stops, also by an exception; when it is told to exit, by its parent's end or by its supervisor, only if
        it traps exits: `process_flag("trap_exit", True)` in `init` (G4).

        Never after `kill`: what must be released in any case belongs to a process that watches this one.
        """

    def get_state(self) -> Any:
        """What `system.get_state` shows: the attributes."""
        return dict(vars(self))

    def replace_state(self, fn: Callable[[Any], Any]) -> Any:
        """Go on with the attributes that `fn` makes of a dict of them. TypeError if it returns no dict."""
        state = fn(dict(vars(self)))
        if type(state) is not dict:
            raise TypeError(f"the new state is a dict of attributes, not {shown(state)}")
        self.__dict__.clear()
        self.__dict__.update(state)
        return state

    async def _set_up(self, args: tuple[Any, ...]) -> Any:
        """Run `init`; what it returned goes to `_serve`."""
        return await self.init(*args)

    async def _serve(self, control: Control, outcome: Any) -> None:
        """Take messages, until something is raised."""
        raise NotImplementedError

    @classmethod
    async def start_link(
        cls,
        *args: Any,
        name: str | None = None,
        timeout: float | None = None,
        exclude: Iterable[Any] = (),
        limits: Limits | None = None,
        mailbox: Mailbox | None = None,
        backup: bool = False,
    ) -> Pid:
        """Start a process linked to the caller, its parent, and wait until `init(*args)` is done.

        Returns its pid, or `IGNORE` if `init` declined. Options and what is raised: as `start_behaviour`; above all the very exception
        that `init` raised.

        `backup`: a GenServer becomes a process pair of two nodes, which survives the loss of one (`nodes.pairs`). It needs a `name`, by
        which `nodes.call_pair` finds it; the pid is that of its keeper on this node, for links and supervisors. RuntimeError on a node that
        is alone.
        """
        return await cls._start(args, True, name=name, timeout=timeout, exclude=exclude, limits=limits, mailbox=mailbox, backup=backup)

    @classmethod
    async def start(
        cls,
        *args: Any,
        name: str | None = None,
        timeout: float | None = None,
        exclude: Iterable[Any] = (),
        limits: Limits | None = None,
        mailbox: Mailbox | None = None,
        backup: bool = False,
    ) -> Pid:
        """As `start_link`, but with neither link nor parent: it outlives the caller."""
        return await cls._start(args, False, name=name, timeout=timeout, exclude=exclude, limits=limits, mailbox=mailbox, backup=backup)

    @classmethod
    async def _start(cls, args: tuple[Any, ...], link: bool, *, backup: bool, **options: Any) -> Pid:
        if type(backup) is not bool:
            raise TypeError(f"backup is True or False, not {backup!r}")
        if backup:
            return await starting.start_pair(cls, args, link, options)
        return await start_behaviour(_live, cls, *args, link=link, initial_call=f"{cls.__module__}:{cls.__qualname__}", **options)


async def _live(started: Started, kind: type[Behaviour], *args: Any) -> None:
    """The process."""
    behaviour = kind()
    outcome = await behaviour._set_up(args)
    if outcome is IGNORE:
        started.ignore()
        return
    control = Control(behaviour, scheduler.current_process(), started.parent)
    started.ok()
    try:
        await behaviour._serve(control, outcome)
    except BaseException as failure:
        await control.ended(failure)
        raise
