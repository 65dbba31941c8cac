"""One name for the same unikernel on several cores: requests go to whichever has the fewest, and to another if it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from beamlike import (
    Call,
    Caller,
    CallError,
    Cast,
    Exit,
    Pid,
    Stop,
    call,
    process_flag,
    receive,
    reply,
    send,
    sleep,
    spawn_link,
)
from beamlike.seam import (
    Failed,
    Process,
    Refused,
    Started,
    Timer,
    Under,
    current_node,
    current_process,
    deliver,
    end,
    extra,
    format_reason,
    log,
    now,
    on_release,
    push_timer,
    release_caller,
    start,
    start_behaviour,
)
from unikernels.errors import ImageError
from unikernels.toolkit import Built
from unikernels.unikernel import Unikernel

INTENSITY, PERIOD = 10, 5.0  # restarts of each member, seconds
SOON, LATEST = 0.05, 1.0  # seconds to the second try to start a member again, and at most between two
LOOK: Final = 0.005  # seconds between two looks for a member
SWEEP: Final = 1.0  # seconds between two looks for calls that nobody waits for

logger = logging.getLogger("beamlike.unikernels")


class UnikernelPool:
    """Starts pools; never made. For a supervisor: `ChildSpec.of(UnikernelPool, "hasher.elf", cores=[1, 2, 3], name="hash")`."""

    child_type = "worker"

    @staticmethod
    async def start(image: str | Path | Built, *args: Any, **options: Any) -> Pid:
        """As `start_link`, and without a link."""
        return await _start(False, image, args, **options)

    @staticmethod
    async def start_link(image: str | Path | Built, *args: Any, **options: Any) -> Pid:
        """Start a pool, linked to the caller, and return its pid when all its members run.

        A call goes to the member that has the fewest unanswered, and its answer to the caller; a message to each member in turn. A member
        that ends is started again, and the calls it had not answered go to another one, `retries` times: so a request may be executed
        twice. Then they fail with `("refused", text)`, which says with what the last one ended.

        Args:
            image, args: as `start_unikernel`.
            cores: one member for each, on that core; None stands for any.
            retries: how often a call is made again.
            intensity, period: if each of the members has ended more often, on average, in so many seconds, the pool ends, too, with
                `("members_ended", reason of the last)`; in a tree its supervisor decides what then.
            name: a local name.
            exclude: added to the caller's exclusions.
            options: of each member, as `start_unikernel`.

        Raises: as `start_unikernel`; ValueError if there are no cores.
        """
        return await _start(True, image, args, **options)


async def _start(
    link: bool,
    image: str | Path | Built,
    args: tuple[Any, ...],
    *,
    cores: Sequence[int | None] = (),
    retries: int = 1,
    intensity: int = INTENSITY,
    period: float = PERIOD,
    name: str | None = None,
    exclude: Iterable[Any] = (),
    timeout: float | None = 30.0,
    **options: Any,
) -> Pid:
    if "core" in options or not isinstance(cores, Sequence) or not cores:
        raise ValueError(f"UnikernelPool: cores is {cores!r}, expected a core for each member, or None for any: cores=[1, None]")
    for what, value in (("retries", retries), ("intensity", intensity)):
        if type(value) is not int or value < 0:
            raise ValueError(f"UnikernelPool: {what} is a number of times, not {value!r}")
    if type(period) not in (int, float) or not period > 0:
        raise ValueError(f"UnikernelPool: period is a positive number of seconds, not {period!r}")
    return await start_behaviour(
        _be_pool,
        image,
        args,
        tuple(cores),
        retries,
        (intensity * len(cores), period),
        options,
        name=name,
        link=link,
        exclude=exclude,
        timeout=timeout,
        initial_call="unikernels:UnikernelPool",
    )


async def _be_pool(
    started: Started,
    image: Any,
    args: tuple[Any, ...],
    cores: tuple[int | None, ...],
    retries: int,
    limit: tuple[int, float],
    options: dict[str, Any],
) -> None:
    """The body of a pool's process."""
    process_flag("trap_exit", True)
    me = current_process()
    extra(me).label = f"pool of {len(cores)} unikernels"
    pool = _pools[me.pid] = _Pool(image, args, options, limit)
    for core in cores:
        pool.keepers.add(spawn_link(_keep, me.pid, core))
        begun = await receive(lambda message: type(message) is _Begun or (type(message) is Exit and message.sender in pool.keepers))
        if type(begun) is Exit:
            raise Stop(begun.reason)
        if begun.error is not None:
            raise Failed(begun.error, "unavailable") from begun.error
    started.ok()
    push_timer(Timer(None, None, pool.sweep, SWEEP, None), now() + SWEEP)
    while True:
        match await receive():
            case Call(caller, request) as message:
                release_caller(caller)
                with Under(me, message.layers):
                    start(_ask, (me.pid, caller, request, retries), parent=me, runs="")
            case Exit(pid, reason) if pid in pool.keepers or pid == started.parent:
                raise Stop(reason)
            case Exit():
                pass
            case Cast(request):
                pool.pass_on(request)
            case message:
                pool.pass_on(message)


class _Begun:
    """To a pool, by its node: a keeper's first try to start its member is over. No value, so nobody else can send it."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class _Pool:
    """The members of one. `limit`: how many may end in how many seconds."""

    def __init__(self, image: Any, args: tuple[Any, ...], options: dict[str, Any], limit: tuple[int, float]) -> None:
        self.image = image
        self.args = args
        self.options = options
        self.limit = limit
        self.keepers: set[Pid] = set()
        self.unanswered: dict[Pid, int] = {}  # calls of each member; who got a message last is last
        self.asking: dict[Process, Caller] = {}  # who asks a member, for whom
        self.ends: list[float] = []  # when members did
        self.is_over = False

    def ends_too_often(self) -> bool:
        """One more has ended: is that more than so many in so many seconds?"""
        most, period = self.limit
        self.ends = [when for when in self.ends if when > now() - period] + [now()]
        return len(self.ends) > most

    def sweep(self) -> bool:
        """End those that ask for nobody any more. Is that to be done again?"""
        for process, caller in list(self.asking.items()):
            if not _is_waiting(caller):
                end(process, "killed")
        return not self.is_over

    def pass_on(self, message: Any) -> None:
        """To the next in turn. Dropped if there is none, as by a process that does not run."""
        for member in self.alive():
            self.unanswered[member] = self.unanswered.pop(member)
            send(member, message)
            return

    def alive(self) -> list[Pid]:
        """Members that have not ended, as far as is known already."""
        return [member for member in self.unanswered if member.process is not None]


def _is_waiting(caller: Caller) -> bool:
    """Does it wait for its answer? Of who is on another node that is not known: yes."""
    process = caller.pid.process
    if process is None:
        return caller.pid.origin is not current_node()
    return process.calls is not None and caller.ref in process.calls


_pools: dict[Pid, _Pool] = {}


def _released(process: Process, reason: Any) -> None:
    """If it was a pool, its keepers end with it, and with each its member, also one that is being started."""
    pool = _pools.pop(process.pid, None)
    if pool is not None:
        pool.is_over = True
        for keeper in pool.keepers:
            if keeper.process is not None:
                end(keeper.process, "killed")


on_release.append(_released)


async def _keep(owner: Pid, core: int | None) -> None:
    """A process for each member: it starts it, and again when it has ended, so nobody else waits for that."""
    process_flag("trap_exit", True)
    process_flag("label", "keeper of a unikernel" if core is None else f"keeper of the unikernel on core {core}")
    pool = _pools[owner]
    is_first, pause = True, 0.0
    while True:
        failure: Exception | None = None
        try:
            member = await Unikernel.start_link(pool.image, *pool.args, core=core, **pool.options)
        except (ImageError, OSError, RuntimeError, TypeError, ValueError) as error:
            failure = error
        if is_first and owner.process is not None:
            deliver(owner.process, _Begun(failure))
        if failure is None:
            is_first, pause = False, 0.0
            pool.unanswered[member] = 0
            ended = await receive(lambda message, member=member: type(message) is Exit and message.sender == member)
            del pool.unanswered[member]
            if pool.ends_too_often():
                raise Stop(("members_ended", ended.reason))
        elif is_first:
            return
        else:
            pause = min(max(2 * pause, SOON), LATEST)
            log(logger, logging.ERROR, "a member of a pool could not be started again, next try in %s s: %s", pause, failure)
            await sleep(pause)


async def _ask(owner: Pid, caller: Caller, request: Any, left: int) -> None:
    """A process for one request, which has the exclusions of the pool's and of who asks."""
    pool = _pools.get(owner)
    if pool is None:
        return  # it has ended since
    me = current_process()
    pool.asking[me] = caller
    try:
        await _ask_one(pool, caller, request, left)
    finally:
        del pool.asking[me]


async def _ask_one(pool: _Pool, caller: Caller, request: Any, left: int) -> None:
    while True:
        while not pool.is_over and not pool.alive():
            await sleep(LOOK)
        if pool.is_over:
            return  # whoever asks is told
        member = min(pool.alive(), key=pool.unanswered.__getitem__)
        pool.unanswered[member] += 1
        try:
            answer: Any = await call(member, request, timeout=None)
        except CallError as error:
            if error.reason == "noproc":  # it had ended before: nothing was executed
                continue
            is_refused = type(error.reason) is tuple and error.reason[:1] == ("refused",)
            if not is_refused and left > 0:
                left -= 1
                continue
            answer = Refused(error.reason[1] if is_refused else f"the unikernel that was asked has ended: {format_reason(error.reason)}")
        except PermissionError as error:
            answer = Refused(str(error))
        finally:
            if member in pool.unanswered:
                pool.unanswered[member] -= 1
        reply(caller, answer)
        return
