"""Unikernels as processes: programs in C, in the same mailboxes."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from beamlike import ChildSpec, Pid, Stop, Supervisor, exit, pack, process_flag, receive, record, spawn, unlink
from beamlike.seam import (
    Failed,
    Started,
    Timer,
    current_process,
    extra,
    now,
    outside,
    push_timer,
    start_behaviour,
)
from cells import Cell, CellOutput, CellUnavailable, Limits
from cells.seam import Connection, Gateway, cpu_clock
from unikernels.bare import Bare
from unikernels.errors import ImageError
from unikernels.images import MOST_MEMORY, Image, image_of, load
from unikernels.linux import Linux
from unikernels.log import Log
from unikernels.platform import Platform
from unikernels.toolkit import Built

CAPACITY: Final = 128 * 1024  # bytes of each ring
LONGEST: Final = 16 * 1024 * 1024  # bytes of a message, if the program has room for it
MOST_IN_CELL: Final = 64 * 1024  # the same, of one for WebAssembly
NO_LIMIT: Final = 1 << 62
NO_MEMORY: Final = ("exit", 95)  # of one that found no room for what it shares with its node
LOOKS: Final = 5  # in the time of a heartbeat: so it is seen soon after
INTENSITY, PERIOD = 10, 5.0  # of the supervisor of one: restarts, seconds
OPTIONS: Final = ("core", "name", "exclude", "memory", "cpu", "heartbeat", "timeout")
PLATFORMS: Final[dict[str, type[Platform]]] = {"linux": Linux, "bare": Bare}
Restart = Literal["temporary", "transient", "permanent"]


@record
class UnikernelLimits(Limits):
    """Of a cell's limits those that count here. Nobody counts its messages: it is not a stranger's."""

    most_message_bytes: ClassVar[int] = LONGEST


class Unikernel:
    """Starts unikernels; never made. For a supervisor: `ChildSpec.of(Unikernel, "hasher.elf", core=1, name="hash")`."""

    child_type = "worker"

    @staticmethod
    async def start(image: str | Path | Built | bytes, *args: Any, **options: Any) -> Pid:
        """`start_unikernel`."""
        return await _start(False, image, args, **options)

    @staticmethod
    async def start_link(image: str | Path | Built | bytes, *args: Any, **options: Any) -> Pid:
        """`start_unikernel`, linked to the caller from the start."""
        return await _start(True, image, args, **options)


async def start_unikernel(image: str | Path | Built | bytes, *args: Any, restart: Restart = "temporary", **options: Any) -> Pid:
    """Run a program in C, an image that `build` made, and return its pid when it runs.

    The pid is one like any other: send, call, link, monitor, kill it. It reaches the pids that it is handed, in arguments and messages, and
    no others; what it sends is checked by its exclusions. Its first message is the tuple of the arguments. It ends with `normal` when
    `uk_main` returns, with `("exit", status)`, with the reason of `uk_stop`, or one that says what happened: `("signal", name, "address
    0x…", "at 0x…")`, `("capability_violation", "os", system call)`, `("capability_violation", "mailbox")`, `("limit", "cpu")`, `("hung",
    seconds)`, `killed`. What it logs goes to the logger `beamlike.unikernels`. An image for WebAssembly is run in a cell: see `spawn_cell`
    for how that ends.

    Args:
        image: the file, or what is in it.
        args: values.
        restart: what a supervisor of this node's own does when it ends; then the pid is that of the first one, and a name is how to find
            those after it. `temporary`: nothing, and nobody supervises it.
        core: the number of the only core that it runs on; None: any.
        name: a local name.
        exclude: added to the caller's exclusions.
        memory: bytes, besides the program and its rings.
        cpu: seconds of CPU time; None: no limit.
        heartbeat: seconds for which it may be at one message without saying that it lives (`uk_beat`), or leave lie what came for it.
            None: it may compute for ever.
        timeout: seconds until it must run.

    Raises:
        ImageError: the file is no image that can be run here.
        OSError: there is no such file, or it could not be started.
        RuntimeError: it ended as it was started.
        ChildStartError: with `restart`, for any of these.
        TypeError, ValueError: an argument is not what it should be. BadNameError: the name is taken.
        CapabilityError: the caller may not read the file, or start it.
    """
    if restart not in ("temporary", "transient", "permanent"):
        raise ValueError(f"start_unikernel: restart is 'temporary', 'transient' or 'permanent', not {restart!r}")
    if restart == "temporary":
        return await _start(False, image, args, **options)
    spec = ChildSpec.of(Unikernel, image, *args, id="unikernel", restart=restart, **options)
    supervisor = await Supervisor.start_link([spec], intensity=INTENSITY, period=PERIOD)
    unlink(supervisor)  # it lives on when the caller has ended
    (child,) = await Supervisor.which_children(supervisor)
    which = f"{len(image)} bytes" if isinstance(image, bytes) else image
    if child.pid is None and restart == "transient" and child.status != "restarting":
        exit(supervisor, "shutdown")
        raise RuntimeError(f"the unikernel of {which} has ended already, and is not started again")
    if child.pid is None:
        raise RuntimeError(f"the unikernel of {which} has ended already, and is being started again: a name is how to find it")
    return child.pid


async def _start(
    link: bool,
    image: str | Path | Built | bytes,
    args: tuple[Any, ...],
    *,
    core: int | None = None,
    name: str | None = None,
    exclude: Iterable[Any] = (),
    memory: int = 16 * 1024 * 1024,
    cpu: float | None = None,
    heartbeat: float | None = None,
    timeout: float | None = 30.0,
    **unknown: Any,
) -> Pid:
    if unknown:
        raise TypeError(f"start_unikernel: there is no option {', '.join(unknown)}, but {', '.join(OPTIONS)}")
    path = image.path if isinstance(image, Built) else image
    if not isinstance(path, str | Path | bytes):
        raise TypeError(f"start_unikernel: image is the path of a file, its bytes, or what build() gave, not {image!r:.80}")
    if type(memory) is int and memory > MOST_MEMORY:
        raise ValueError(f"start_unikernel: memory is {memory}: at most {MOST_MEMORY}")
    most = (os.cpu_count() or 1) - 1
    if core is not None and not (type(core) is int and 0 <= core <= most):
        raise ValueError(f"start_unikernel: core is {core!r}, expected None or a number up to {most}")
    if heartbeat is not None and not (type(heartbeat) in (int, float) and heartbeat > 0):
        raise ValueError(f"start_unikernel: heartbeat is a positive number of seconds, or None, not {heartbeat!r}")
    found = image_of(path) if isinstance(path, bytes) else load(path)
    pack(args)  # what cannot be sent is refused here and now
    title = name or ("unikernel" if isinstance(path, bytes) else Path(path).stem)
    if found.target == "wasm":
        if core is not None or heartbeat is not None:
            raise ValueError("start_unikernel: an image for WebAssembly has no core of its own, and no heartbeat")
        more = {"name": name, "exclude": exclude, "timeout": timeout, "limits": Limits(memory=memory, cpu=cpu)}
        return await _start_in_cell(Cell.start_link if link else Cell.start, title, found.data, args, more)
    limits = UnikernelLimits(memory=memory, cpu=cpu, messages_per_s=NO_LIMIT, message_bytes=LONGEST, output_bytes=NO_LIMIT)
    return await start_behaviour(
        _be_unikernel,
        title,
        found,
        args,
        core,
        limits,
        heartbeat,
        name=name,
        link=link,
        exclude=exclude,
        timeout=timeout,
        initial_call=f"unikernel:{title}",
    )


async def _be_unikernel(
    started: Started, name: str, image: Image, args: tuple[Any, ...], core: int | None, limits: UnikernelLimits, heartbeat: float | None
) -> None:
    """The body of a unikernel's process."""
    me = current_process()
    maker = PLATFORMS[image.target](name, image, CAPACITY, LONGEST, core=core, room=limits.memory)
    try:
        connection = Connection(maker, limits)
    except ImageError as missing:
        raise Failed(missing, "unavailable") from missing
    except (OSError, CellUnavailable) as lack:
        maker.close()
        raise Failed(RuntimeError(f"no unikernel {name}: {lack}"), "unavailable") from lack
    except BaseException:
        maker.close()
        raise
    gateway = Gateway(me, f"unikernel {name}", connection, limits, frozenset(), Log(name))
    ended = await gateway.settled()
    if ended is not None and not connection.first:
        built = "was it built by `beamlike build-unikernel`?"
        hint = f"memory={limits.memory} is too little" if ended[0] == NO_MEMORY else built
        raise Failed(RuntimeError(f"the unikernel {name} ended as it was started, with {ended[0]!r}: {hint}"), "unavailable")
    if len(gateway.to_cell(args)) > gateway.room:
        error = ValueError(f"start_unikernel: the arguments have more than {gateway.room} bytes, for which {name} has room (UK_INBOX)")
        raise Failed(error, "unavailable")
    outside[me] = _Program(name, core, connection)
    extra(me)  # so that its end is told, and it is forgotten
    started.ok()
    if ended is not None:  # it was through as soon as it had begun
        raise Stop(ended[0])
    gateway.send_first(args)
    if heartbeat is not None:
        _watch(gateway, maker, heartbeat)
    await gateway.relay(gateway.own[me.pid])


def _watch(gateway: Gateway, maker: Platform, heartbeat: float) -> None:
    """End it when it has been at one thing, or has not taken what is there for it, for so long."""
    last, since = None, now()

    def look() -> bool:
        nonlocal last, since
        if maker.memory is None:  # it has ended
            return False
        found = maker.memory.at_work()
        if found is None or found != last:
            last, since = found, now()
        elif now() - since >= heartbeat:
            gateway.give_up(("hung", heartbeat))
            return False
        return True

    push_timer(Timer(None, None, look, heartbeat / LOOKS, None), now() + heartbeat / LOOKS)


class _Program:
    """What is told of it to who looks into the system."""

    def __init__(self, title: str, core: int | None, connection: Connection) -> None:
        self.title = title
        self.core = core
        self.started = time.time()
        self.connection = connection
        self.os_pid = connection.os_pid
        self.kill = connection.kill

    def cpu_seconds(self) -> float:
        """0 if that cannot be known any more."""
        try:
            return time.clock_gettime(cpu_clock(self.connection.pidfd))
        except OSError:
            return 0.0


async def _start_in_cell(start: Callable[..., Awaitable[Pid]], title: str, data: bytes, args: tuple[Any, ...], more: dict[str, Any]) -> Pid:
    if len(pack(args)) > MOST_IN_CELL:
        raise ValueError(
            f"start_unikernel: the arguments have more than {MOST_IN_CELL} bytes, for which a program for WebAssembly has room"
        )
    output = spawn(_log_output, title)
    try:
        return await start(data, "main", *args, kind="wasm", output=output, **more)
    except BaseException:
        exit(output, "kill")
        raise


async def _log_output(name: str) -> None:
    """What one in a cell writes, until it has ended."""
    process_flag("label", f"log of the unikernel {name}")
    listener = Log(name)
    while type(message := await receive()) is CellOutput:
        listener.wrote(message.stream, message.data)
    listener.ended(message.reason)
