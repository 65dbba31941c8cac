"""One name for the same unikernel on several cores: requests go to whichever has the fewest, and to another if it ends."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

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
    self_pid,
    send,
    send_after,
)
from beamlike.seam import (
    Failed,
    Refused,
    Started,
    Under,
    current_process,
    extra,
    format_reason,
    log,
    release_caller,
    start,
    start_behaviour,
    tell,
)
from unikernels.errors import ImageError
from unikernels.toolkit import Built
from unikernels.unikernel import Unikernel

SOON, LATEST = 0.05, 1.0  # seconds to the first try to start a member again, and at most between two

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
    cores: Sequence[int | None],
    retries: int = 1,
    name: str | None = None,
    exclude: Iterable[Any] = (),
    timeout: float | None = 30.0,
    **options: Any,
) -> Pid:
    if not cores:
        raise ValueError("UnikernelPool: cores names no core: expected one for each member, or None for any")
    if type(retries) is not int or retries < 0:
        raise ValueError(f"UnikernelPool: retries is a number of times, not {retries!r}")
    return await start_behaviour(
        _be_pool,
        image,
        args,
        tuple(cores),
        retries,
        options,
        name=name,
        link=link,
        exclude=exclude,
        timeout=timeout,
        initial_call="unikernels:UnikernelPool",
    )


async def _be_pool(
    started: Started, image: Any, args: tuple[Any, ...], cores: tuple[int | None, ...], retries: int, options: dict[str, Any]
) -> None:
    """The body of a pool's process."""
    process_flag("trap_exit", True)
    extra(current_process()).label = f"pool of {len(cores)} unikernels"
    pool = _Pool(image, args, options)
    try:
        for core in cores:
            await pool.start_member(core)
    except (ImageError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise Failed(error, "unavailable") from error
    started.ok()
    while True:
        match await receive():
            case Call(caller, request) as message:
                release_caller(caller)
                pool.give(caller, request, retries, message.layers)
            case ("$again", Caller() as caller, request, int(left), tuple(layers)):
                pool.give(caller, request, left, layers)
            case ("$answered", Pid() as member) if member in pool.unanswered:
                pool.unanswered[member] -= 1
            case ("$start", core, float(pause)):
                await pool.replace(core, pause)
            case Exit(pid, _) if pid in pool.unanswered:
                del pool.unanswered[pid]
                await pool.replace(pool.cores.pop(pid), 0.0)
            case Exit(pid, reason) if pid == started.parent:
                raise Stop(reason)
            case Exit() | ("$answered", _):
                pass
            case Cast(request):
                pool.pass_on(request)
            case message:
                pool.pass_on(message)


class _Pool:
    """The members of one."""

    def __init__(self, image: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.image = image
        self.args = args
        self.options = options
        self.unanswered: dict[Pid, int] = {}  # calls of each member; who got a message last is last
        self.cores: dict[Pid, int | None] = {}
        self.waiting: deque[tuple[Caller, Any, int, Any]] = deque()  # while there is no member

    async def start_member(self, core: int | None) -> None:
        """Raises: as `start_unikernel`."""
        pid = await Unikernel.start_link(self.image, *self.args, core=core, **self.options)
        self.unanswered[pid] = 0
        self.cores[pid] = core
        waiting, self.waiting = self.waiting, deque()
        for each in waiting:
            self.give(*each)

    async def replace(self, core: int | None, pause: float) -> None:
        """Start a member again, after a pause if that failed before."""
        try:
            await self.start_member(core)
        except (ImageError, OSError, RuntimeError) as error:
            pause = min(max(2 * pause, SOON), LATEST)
            log(logger, logging.ERROR, "a member of a pool could not be started again, next try in %s s: %s", pause, error)
            send_after(pause, self_pid(), ("$start", core, pause))

    def give(self, caller: Caller, request: Any, left: int, layers: Any) -> None:
        """Have a member answer."""
        if not self.unanswered:
            self.waiting.append((caller, request, left, layers))
            return
        member = min(self.unanswered, key=self.unanswered.__getitem__)
        self.unanswered[member] += 1
        me = current_process()
        with Under(me, layers):
            start(_ask, (me.pid, member, caller, request, left, layers), parent=me, runs="")

    def pass_on(self, message: Any) -> None:
        """To the next in turn. Dropped if there is none, as by a process that does not run."""
        for member in self.unanswered:
            self.unanswered[member] = self.unanswered.pop(member)
            send(member, message)
            return


async def _ask(pool: Pid, member: Pid, caller: Caller, request: Any, left: int, layers: Any) -> None:
    """A process for one request."""
    try:
        reply(caller, await call(member, request, timeout=None))
    except CallError as error:
        if error.reason[:1] == ("refused",):
            reply(caller, Refused(error.reason[1]))
        elif left > 0:
            tell(pool, ("$again", caller, request, left - 1, layers))
        else:
            reply(caller, Refused(f"the unikernel that was asked has ended: {format_reason(error.reason)}"))
    except PermissionError as error:
        reply(caller, Refused(str(error)))
    tell(pool, ("$answered", member))
