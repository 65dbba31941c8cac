"""The scheduler of this node: a run queue that steps coroutines, and what moves processes in and out of it.

Theory of operation. A process is a coroutine; `run_slice` takes the oldest runnable one and sends it None. It runs until it awaits
something that is not there yet; then the primitive it called writes into the record what it waits for (`state`, `deadline`) and
yields PARK, and the process is out of the queue until `wake`. Nothing is allocated to park or to wake. While a process is
stepped, `current` is its record: that is how `send`, `receive` and `spawn` know who calls.

There is one node an interpreter, so its state is this module's; `open_node` and `close_node` set it up and take it down. All of it belongs
to the thread that opened the node. What is rare is not decided here but by the `Hooks` that the node installs: a process
that ended, a yield that is no PARK, a pid that is not here, a call from another thread or from trio mode.
"""

from __future__ import annotations

from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, Protocol

from beamlike.hot import process as process_module
from beamlike.hot.guards import acts_as_service, require, require_target
from beamlike.hot.ids import NodeId, Pid, Ref, make_pid, make_ref_of
from beamlike.hot.mailboxes import mailbox_length, matcher, take, take_matching
from beamlike.hot.process import DEAD, EMPTY, EXITING, INFINITY, PREEMPTED, RECEIVING, RUNNABLE, WAITING, Process, make_process
from beamlike.hot.timers import Timer, Timers
from beamlike.hot.values import copy_argument, copy_value

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

if not cython.compiled:
    from contextvars import copy_context

    from beamlike.hot.portable import MessageQueue, RunQueue, get_ident, monotonic, resume, word_of
from beamlike.hot.portable import FINISHED as _FINISHED
from beamlike.hot.portable import PARK as _PARK
from beamlike.hot.portable import Failed as _Failed
from beamlike.hot.portable import throw

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from random import Random

FINISHED = _FINISHED
Failed = _Failed
PARK = _PARK
MESSAGES_A_STEP = 1000  # messages a process may take before the others get their turn (the BEAM: 4000 reductions)
MOST_LOOKS = 64  # at the clock in a slice: a virtual one stands still
MOST_STEPS_A_LOOK = 64  # steps between two looks at the clock, at most
NOTHING: tuple[Any, ...] = ()
_Coroutine = CoroutineType  # a C global: one look-up less a spawn
LOOK_PERIOD = 0.0001  # seconds between two looks that the number of steps aims at


class Hooks(Protocol):
    """What the node decides, not the scheduler. Called in the node's thread, except the two that say otherwise."""

    def process_ended(self, process: Process, failure: BaseException | None) -> None:
        """The coroutine returned (None) or raised."""

    def foreign_yield(self, process: Process, yielded: Any) -> None:
        """The process yielded what is not PARK: it enters trio mode, or awaited somebody else's awaitable."""

    def step_exiting(self, process: Process) -> None:
        """A process that is EXITING has its turn."""

    def timer_fired(self, timer: Any) -> None:
        """A `Timer` (not a deadline) is due."""

    def became_ready(self) -> None:
        """The queue, or the heap, got something while nobody was to look at them."""

    def destination_elsewhere(self, destination: Any, message: Any) -> None:
        """`send` to what is not a live local pid; the message is copied. Any thread if it is not a Pid."""

    def current_elsewhere(self) -> Process | None:
        """The process on whose behalf this trio task or thread runs. Any thread."""

    def layers_of(self, process: Process) -> tuple[Any, ...]:
        """The exclusions under which this trio task or thread acts for the process. Any thread."""

    def permit_send(self, process: Process, layers: tuple[Any, ...], destination: Any) -> Any:
        """CapabilityError unless the process may, under these layers, send to what is no Pid; the pid that a local name stands for, as
        what is checked is what is used. The TypeError or BadNameError of `send`. Any thread."""

    def send_limited(self, destination: Pid, message: Any) -> None:
        """`destination_elsewhere` of a process that has exclusions, to a pid that is not alive here."""

    def check_destination(self, destination: Any) -> None:
        """The TypeError or BadNameError of `send`. Any thread."""

    def send_from_thread(self, destination: Any, message: Any, is_limited: bool) -> None:
        """`send` outside the node's thread. Any thread. `is_limited`: to a pid that is not here, as `send_limited`."""

    def receive_in_trio(self, match: Any, timeout: float | None) -> Any:
        """`receive` outside a step: an awaitable."""

    def spawn(self, parent: Process, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Pid:
        """`spawn` with options, of a limited process, or not from within a step."""

    def resolve(self, server: Any) -> Any:
        """The pid that the name given to `call` stands for, or `(name, node)` of another node."""

    def call_elsewhere(self, wait: Any) -> None:
        """A call begins, of a server that is not alive here."""

    def call_ended_elsewhere(self, wait: Any) -> None:
        """It is over."""

    def call_in_trio(self, wait: Any) -> Any:
        """`call` outside a step: an awaitable."""

    def call_error(self, wait: Any) -> BaseException:
        """What a call without answer raises."""

    def reply_elsewhere(self, caller: Any, value: Any) -> None:
        """`reply` to a caller that is not alive here."""

    def exit_of(self, process: Process) -> BaseException:
        """What to raise in a process that has ended and goes on doing things."""

    def admit(self, process: Process, message: Any) -> bool:
        """May the message enter the mailbox, which has bounds?"""


class Outbox(Protocol):
    """Where what a process sends is held back, while its record names one. The values are copies already."""

    def send(self, destination: Any, message: Any) -> None:
        """`send`, `cast`. Any thread that acts for the process."""

    def reply(self, caller: Any, value: Any) -> None:
        """`reply`."""

    def start_timer(self, seconds: float, destination: Any, message: Any, period: float) -> Ref:
        """`send_after` (period 0.0), `send_interval`."""

    def cancel_timer(self, ref: Ref) -> float | None:
        """`cancel_timer`: the seconds that were left; None if it has no such timer."""


hooks: Any = None
origin: NodeId | None = None  # which node life this is; None: no node is open
newest: Process | None = None  # all records not buried yet, linked by `older` and `newer`: no dict of a million
alive = 0
timers: Timers = Timers()
clock: Callable[[], float] | None = None  # None: the machine's
rng: Random | None = None  # deterministic mode: draws who runs next
current: Process | None = None
runq: Any = RunQueue()
node_thread = 0
messages_left = 0
is_idle = False  # nobody looks at the queue until `became_ready` is called
last_serial = 0
layers_elsewhere: Any = None
stamps: dict[Any, Any] = {}  # of requests and of what signals become, by type: what is sent, of (message, layers, destination)
intake: Any = None  # node.Intake, of a node among others
watched: Any = None  # shared memory, for who watches this node from outside:
stepped_word: Any = word_of(None)  # there the serial of the process being stepped is written
steps = 0  # how many steps were begun; pre-emption tells a long one by it


def open_node(node: NodeId, new_hooks: Any, new_clock: Callable[[], float] | None, new_rng: Random | None) -> None:
    """Take this module over for a node; its clock is the machine's if none is given. RuntimeError if one is open."""
    global hooks, origin, clock, rng, last_serial, steps, is_idle, timers, node_thread, newest, alive
    if origin is not None:
        raise RuntimeError(f"{origin} runs in this interpreter already: one node an interpreter")
    hooks, origin, clock, rng = new_hooks, node, new_clock, new_rng
    node_thread = get_ident()
    timers = Timers()
    last_serial = steps = 0
    is_idle = False
    newest = None
    alive = 0
    runq.clear()


def close_node() -> list[Process]:
    """Give the module back. Returns the processes of a node that stopped in disorder, which nobody ended.

    Their pids are dead. They are to be kept: dropping a coroutine would run its `finally` blocks outside of any process (P5).
    """
    global hooks, origin, clock, rng, timers, node_thread, newest, alive, watched, stepped_word, intake
    left: list[Process] = []
    process = newest
    while process is not None:
        left.append(process)
        process.pid.process = None
        process.state = DEAD
        older = process.older
        process.older = process.newer = None
        process = older
    hooks = origin = clock = rng = watched = intake = None
    stepped_word = word_of(None)
    node_thread = 0
    timers = Timers()
    newest = None
    alive = 0
    runq.clear()
    return left


# --- who and what ---------------------------------------------------------------------------------------------------------


def current_process() -> Process:
    """The process that runs, or on whose behalf this trio task or thread runs. RuntimeError if there is none."""
    process = current_or_none()
    if process is None:
        raise RuntimeError("this is not called by a process: call it in a function that `run` or `spawn` started" + _outside())
    return process


def current_or_none() -> Process | None:
    """As `current_process`; None if there is none."""
    if current is not None and get_ident() == node_thread:
        return current
    return None if hooks is None else hooks.current_elsewhere()


def caller(what: str) -> Process:
    """The live process that calls `what`, in the node's thread.

    Raises: RuntimeError outside a process and in other threads; ProcessExit in a process that has ended and unwinds: it
    can acquire nothing any more that nobody would release.
    """
    process = current_process()
    check_thread(what)
    if process.pid.process is None:
        raise hooks.exit_of(process)
    return process


def check_thread(what: str) -> None:
    """RuntimeError unless this is the node's thread."""
    if get_ident() != node_thread:
        raise RuntimeError(f"{what}() is called in a thread: only send() and self_pid() work there")


def _outside() -> str:
    return " (no node runs in this interpreter)" if origin is None else ""


def is_stepping() -> bool:
    """Is a process being stepped, and is this its thread?"""
    return current is not None and get_ident() == node_thread


def current_node() -> NodeId | None:
    """The life of the node that is open here; None if none is."""
    return origin


def current_hooks() -> Any:
    """Those of the node that is open here: its `Node`; None if none is."""
    return hooks


def all_processes() -> list[Process]:
    """Every live process, oldest first."""
    found: list[Process] = []
    process = newest
    while process is not None:
        if process.pid.process is not None:
            found.append(process)
        process = process.older
    found.reverse()
    return found


def process_count() -> int:
    """How many there are."""
    return alive


def arm(process: Process, deadline: float) -> None:
    """Set a process's deadline (node clock)."""
    timers.arm(process, deadline)


def push_timer(timer: Timer, when: float) -> None:
    """Let `timer_fired` be called with the timer at `when`."""
    timer.when = when
    timers.push(when, timer)
    if is_idle:
        hooks.became_ready()


def drop_timer(timer: Timer) -> None:
    """Disarm it."""
    timer.when = INFINITY
    timers.forget()


def stepped() -> Process | None:
    """The process being stepped."""
    return current


def self_pid() -> Pid:
    """The pid of the process that calls. In trio mode, its child tasks and its `blocking` threads, too.

    Raises: RuntimeError outside a process.
    """
    if current is not None and get_ident() == node_thread:
        return current.pid
    return current_process().pid


def make_ref() -> Ref:
    """A new `Ref`, never given before on this node."""
    global last_serial
    if origin is None:
        raise RuntimeError("no node runs in this interpreter: a Ref belongs to a node")
    check_thread("make_ref")
    last_serial += 1
    return make_ref_of(origin, last_serial)


def now() -> float:
    """Seconds of the node's clock, which is virtual in deterministic mode."""
    if clock is not None:
        return clock()
    if origin is None:
        raise RuntimeError("no node runs in this interpreter")
    return monotonic()


def step_count() -> int:
    """How many steps this node has begun."""
    return steps


# --- spawn ----------------------------------------------------------------------------------------------------------------


def new_process(coro: Any, layers: tuple[Any, ...], parent: Process | None) -> Process:
    """A record for `coro` with a pid of its own, alive but not in the run queue."""
    global last_serial, newest, alive
    last_serial += 1
    pid = make_pid(origin, last_serial)  # type: ignore[arg-type]  # a node is open
    process = make_process(pid, coro, copy_context(), layers, parent)
    pid.process = process
    process.older = newest
    if newest is not None:
        newest.newer = process
    newest = process
    alive += 1
    return process


def start_coroutine(fn: Any, args: tuple[Any, ...]) -> Any:
    """Call an async function for its coroutine. TypeError if it is none; mutable arguments are copied as messages are."""
    if not callable(fn):
        raise TypeError(f"expected an async function (and its arguments apart), got {fn!r}")
    coro = fn(*[copy_argument(arg) for arg in args]) if args else fn()
    if type(coro) is not _Coroutine:
        _expect_coroutine(fn, coro)
    return coro


def _expect_coroutine(fn: Any, coro: Any) -> None:
    if hasattr(coro, "send") and hasattr(coro, "throw") and hasattr(coro, "cr_frame"):
        return  # a compiled coroutine
    if hasattr(coro, "__anext__"):
        raise TypeError(f"expected an async function, got the async generator function {fn!r}: it has a `yield` in it")
    if hasattr(coro, "gi_frame"):
        raise TypeError(f"expected an async function, got the generator function {fn!r}: write `async def`")
    raise TypeError(f"expected an async function, got {fn!r}, which returned {type(coro).__name__}: write `async def`")


@cython.annotation_typing(False)
def spawn(
    fn: Any,
    *args: Any,
    name: str | None = None,
    exclude: Any = NOTHING,
    limits: Any = None,
    io: bool = False,
    mailbox: Any = None,
) -> Pid:
    """Start a process on this node that runs `await fn(*args)`, and return its pid at once.

    Mutable arguments are copied as messages are; what cannot be sent (a socket, a lambda) is handed over as it is: the spawner gives it
    away. The child has a copy of the caller's contextvars, its exclusions and its limits.

    Args:
        name: a local name, registered before anybody can look.
        exclude: capability exclusions, added to those inherited (C2).
        limits: a `Limits`; tightens the inherited ones (P3).
        io: run the whole body in trio mode.
        mailbox: a `Mailbox`: bounded (M9).

    Raises:
        TypeError: `fn` is no async function, or an option is not what it should be.
        BadNameError: the name is taken.
        CapabilityError: an exclusion of the caller's refuses it to start `fn`, or to give the name.
        RuntimeError: outside a process.
    """
    parent = current
    if (
        parent is None
        or name is not None
        or limits is not None
        or mailbox is not None
        or io
        or exclude is not NOTHING
        or parent.state != RUNNABLE
        or parent.bounds is not None
        or parent.is_restrained
        or get_ident() != node_thread
    ):
        options = {"name": name, "exclude": exclude, "limits": limits, "io": io, "mailbox": mailbox}
        return hooks_or_error().spawn(caller("spawn"), fn, args, options)  # type: ignore[no-any-return]
    process = new_process(start_coroutine(fn, args), parent.layers, parent)
    runq.append(process)
    return process.pid


def hooks_or_error() -> Any:
    """The node's hooks. RuntimeError if no node is open."""
    if hooks is None:
        raise RuntimeError("no node runs in this interpreter: start one with run(main) or `async with node():`")
    return hooks


def enqueue(process: Process) -> None:
    """Put a process into the run queue, and see that it is looked at. It must not be there."""
    runq.append(process)
    if is_idle:
        hooks.became_ready()


# --- messages -------------------------------------------------------------------------------------------------------------


def send(destination: Any, message: Any) -> None:
    """Send a message: a pid, a registered name, or `(name, node)`. Returns at once; nothing tells whether it arrives.

    Messages from one process to another keep their order, with all other signals (M1). The receiver gets a value of its own: what is
    mutable in `message` is copied (M7). To a dead pid it is dropped in silence (M2). May be called from any thread.

    Raises:
        TypeError: the message cannot be sent (M8; the error names the part), or `destination` is no destination.
        BadNameError: no process of this node has that name.
        CapabilityError: an exclusion of the caller's refuses it to send there.
    """
    if type(destination) is not Pid or get_ident() != node_thread:
        _send_elsewhere(destination, message)
        return
    if current is None or current.is_restrained:
        message = _restrained(destination, message)
        if message is EMPTY:
            return
    pid: Pid = destination
    process: Process = pid.process
    if process is None and pid.origin.peer is not None:
        pid.origin.peer.send(pid.serial, message)
        return
    message = copy_value(message)
    if process is None:
        if pid.origin is not origin:
            hooks.destination_elsewhere(pid, message)
    elif process.mailbox is None and process.first is EMPTY and process.bounds is None:  # as `deliver`, without the call
        process.first = message
        if process.state == RECEIVING:
            if process.task is None and not is_idle:
                process.state = RUNNABLE
                runq.append(process)
            else:
                wake(process)
    else:
        deliver(process, message)


def outbox() -> Any:
    """The `Outbox` of the process that calls, which holds back what it sends; None for nearly all, and outside of processes."""
    process = current_or_none()
    return None if process is None else process.outbox


def _restrained(pid: Pid, message: Any) -> Any:
    """The message of a process that may be limited, or may have an outbox: as it goes to `pid`; EMPTY if the outbox has it."""
    sender: Process | None
    if current is not None:  # as mostly; `send` has seen that this is the node's thread
        sender = current
        layers = sender.layers
    else:
        sender = current_or_none()
        if sender is None:
            return message
        layers = layers_of(sender)
    if len(layers) > 0:
        if pid.process is not sender:  # what a process tells itself is no access to anything
            require_target(layers, pid, sender)
        message = stamped(message, layers, pid)
        if sender.outbox is None and pid.process is None and not acts_as_service(sender):
            hooks.send_limited(pid, copy_value(message))
            return EMPTY
    if sender.outbox is None:
        return message
    sender.outbox.send(pid, copy_value(message))
    return EMPTY


def layers_of(process: Process) -> Any:
    """The exclusions under which the caller, who is the process or acts for it, is now."""
    if process is current and get_ident() == node_thread:
        return process.layers
    return hooks_or_error().layers_of(process)


def layers_elsewhere_by(layers: Callable[[], tuple[Any, ...]]) -> None:
    """Who says under which exclusions a trio task or thread is."""
    global layers_elsewhere
    layers_elsewhere = layers


def check(kind: Any, what: tuple[Any, ...]) -> bool:
    """`caps.check`; returns whether whoever runs has no exclusions."""
    layers = current_layers()
    if len(layers) == 0:
        return True
    require(layers, kind, what)
    return False


def current_layers() -> Any:
    """The exclusions of whoever runs: a process, or a trio task or thread that acts for one; nobody's are `()`."""
    if current is not None and get_ident() == node_thread:
        return current.layers
    return layers_elsewhere()


def stamp_by(kind: type, make: Callable[[Any, tuple[Any, ...], Any], Any]) -> None:
    """Messages of this type are not sent as they are by who has exclusions: what `make(message, layers, destination)` returns is."""
    stamps[kind] = make


def stamped(message: Any, layers: tuple[Any, ...], destination: Any) -> Any:
    """The message, and if it is a request, with the layers of who makes it. One that is a signal's takes the permission to send that."""
    stamp = stamps.get(type(message))
    return message if stamp is None else stamp(message, layers, destination)


def _send_elsewhere(destination: Any, message: Any) -> None:
    sender = current_or_none()
    is_limited = False
    if sender is not None:
        layers = layers_of(sender)
        if len(layers) > 0:
            if type(destination) is not Pid:
                destination = hooks.permit_send(sender, layers, destination)
            elif destination.process is not sender:
                require_target(layers, destination, sender)
            message = stamped(message, layers, destination)
            is_limited = type(destination) is Pid and destination.process is None and not acts_as_service(sender)
        if sender.outbox is not None:
            hooks.check_destination(destination)
            sender.outbox.send(destination, copy_value(message))
            return
    if get_ident() != node_thread:
        hooks_or_error().send_from_thread(destination, message, is_limited)
    elif is_limited:
        hooks.send_limited(destination, copy_value(message))
    else:
        hooks_or_error().destination_elsewhere(destination, copy_value(message))


def tell(destination: Any, message: Any) -> None:
    """`send` by the runtime, in the course of what a process was permitted to ask for: unchecked, and never held back. A pid, or
    `(name, node)`."""
    hooks_or_error().destination_elsewhere(destination, copy_value(message))


def deliver(process: Process, message: Any) -> None:
    """Put a message (a value already) into the mailbox of a live local process and wake it if it waits for one."""
    if process.bounds is not None and not hooks.admit(process, message):
        return
    if process.mailbox is not None:
        process.mailbox.append(message)
    elif process.first is EMPTY:
        process.first = message
    else:
        queue = MessageQueue()  # this may collect garbage, and a finalizer send to the same process
        if process.mailbox is None:
            process.mailbox = queue
        process.mailbox.append(message)
    if process.state == RECEIVING:
        wake(process)


def wake(process: Process) -> None:
    """A parked process goes on."""
    process.state = RUNNABLE
    if process.task is not None:
        process.task.wake()
        return
    enqueue(process)


def poll_receive(awaitable: Any) -> Any:
    """`await` on a record: the next message, or PARK."""
    global messages_left
    process: Process = awaitable
    if process is not current:
        raise RuntimeError("this receive() was called by another process, or in the other mode: call it where it is awaited")
    if process.first is EMPTY and process.mailbox is None:
        if process.state == RUNNABLE:
            process.state = RECEIVING
        return PARK
    messages_left -= 1
    if messages_left < 0 and process.state == RUNNABLE:
        messages_left = MESSAGES_A_STEP
        runq.append(process)
        return PARK
    process.reductions += 1
    if process.mailbox is None:  # as `take`, without the call
        message = process.first
        process.first = EMPTY
        return message
    return take(process)


def _next_message(process: Process) -> Any:
    outcome = poll_receive(process)
    if outcome is PARK:
        return PARK
    raise StopIteration(outcome)


@coroutine
def _receive_next(process: Process) -> Generator[Any, None, Any]:
    while (outcome := poll_receive(process)) is PARK:
        yield PARK
    return outcome


class Park:
    """An awaitable that yields PARK once. Who awaits it has written into the record what the process waits for."""

    __slots__ = ("yielded",)

    def __init__(self) -> None:
        self.yielded = False

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self.yielded:
            raise StopIteration
        self.yielded = True
        return PARK


@cython.annotation_typing(False)
def receive(match: Any = None, timeout: float | None = None) -> Any:
    """Await the next message; with `match`, the oldest one that matches (selective receive, M3).

    What does not match stays in the mailbox, in order. A checkpoint; when it times out the mailbox is untouched.

    Args:
        match: a type (or `int | str`), a predicate, or a tuple prefix such as `("add", int)`: constants that must be equal and types.
        timeout: seconds; 0 looks once; None waits for ever.

    Raises:
        TimeoutError: nothing (that matches) came in time. A timeout is never a None.
        TypeError, ValueError: `match` or `timeout` is none of these.
        RuntimeError: outside a process.
    """
    if match is None and timeout is None and current is not None and get_ident() == node_thread:
        if cython.compiled:
            return current
        return _receive_next(current)
    process = caller("receive")
    if process is current:
        return _receive_matching(process, matcher(match), check_timeout(timeout))
    return hooks.receive_in_trio(matcher(match), check_timeout(timeout))


async def _receive_matching(process: Process, matches: Callable[[Any], bool] | None, timeout: float | None) -> Any:
    scanned = 0
    if timeout is not None and timeout > 0:
        timers.arm(process, now() + timeout)
    try:
        while True:
            message = take(process) if matches is None else take_matching(process, matches, scanned)
            if message is not EMPTY:
                return message
            if timeout is not None and (timeout == 0 or now() >= process.deadline):
                raise TimeoutError(f"receive: no message{'' if matches is None else ' that matches'} in {timeout} s")
            scanned = mailbox_length(process) if process.bounds is None else 0  # a bounded one may drop its oldest meanwhile
            if process.state == RUNNABLE:
                process.state = RECEIVING
            await Park()
    finally:
        process.deadline = INFINITY


def check_timeout(timeout: Any) -> float | None:
    """A timeout as given by a user: None (for ever) or seconds >= 0."""
    if timeout is None:
        return None
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        if timeout >= 0:
            return None if timeout == INFINITY else float(timeout)
        raise ValueError(f"a timeout is None or seconds >= 0, not {timeout!r}")
    raise TypeError(f"a timeout is None or seconds >= 0, not {timeout!r}")


async def sleep_stepped(process: Process, seconds: float) -> None:
    """`sleep` in scheduler mode. 0 gives the others a turn."""
    if seconds == 0:
        if process.state == RUNNABLE:
            runq.append(process)
        await Park()
        return
    deadline = now() + seconds
    timers.arm(process, deadline)
    try:
        while now() < deadline:
            if process.state == RUNNABLE:
                process.state = WAITING
            await Park()
    finally:
        process.deadline = INFINITY


async def wait_stepped(process: Process) -> None:
    """Park in scheduler mode until `wake`, or until the process's deadline."""
    if process.state == RUNNABLE:
        process.state = WAITING
    await Park()


# --- the loop -------------------------------------------------------------------------------------------------------------


def is_ready() -> bool:
    """Is there something to step now?"""
    return len(runq) > 0 or (timers.soonest != INFINITY and timers.soonest <= now())


def run_queue_length() -> int:
    """How many processes wait for their turn."""
    return len(runq)


def set_intake(new: Any) -> None:
    """Who may bring something by which a process can run, when none can: `fetch(end)` is then asked, as long as the node is open."""
    global intake
    intake = new


def next_timer() -> float:
    """When the soonest timer is due; INFINITY when there is none."""
    return timers.soonest


def is_asleep() -> bool:
    """Was `set_idle(True)` said last?"""
    return is_idle


def watch_steps(memory: Any) -> None:
    """Write the serial of each process that is stepped into these 8 bytes of shared memory, as long as the node is open."""
    global stepped_word, watched
    watched = memoryview(memory).cast("q")
    stepped_word = word_of(watched)


def set_idle(idle: bool) -> None:
    """Say whether somebody will call `run_slice` without being told."""
    global is_idle
    is_idle = idle


def fire_timers(time: float) -> None:
    """Make runnable whose deadline is over and hand due `Timer`s to the node."""
    while timers.soonest <= time:
        entry = timers.pop_due(time)
        if entry is None:
            break
        if type(entry) is Process:
            process: Process = entry
            if process.state == RECEIVING or process.state == WAITING:
                wake(process)
        else:
            hooks.timer_fired(entry)


def run_slice(seconds: float) -> Process | None:
    """Step runnable processes for about `seconds`, or until there are none.

    Returns a process that was pre-empted and whose turn has come: it must be resumed in its own greenlet (and this be called
    again later); otherwise None.
    """
    global current, messages_left, steps
    time = now()
    end = time + seconds
    if timers.soonest <= time:
        fire_timers(time)
    looks = MOST_LOOKS
    look = looked = 8
    while len(runq) > 0 or (intake is not None and intake.fetch(end)):
        if rng is not None:
            runq.rotate(-rng.randrange(len(runq)))
        process: Process = runq.popleft()
        if process.state != RUNNABLE:
            if process.greenlet is not None:
                return process
            if process.state == EXITING:
                hooks.step_exiting(process)
            continue
        messages_left = MESSAGES_A_STEP
        steps += 1
        process.reductions += 1
        current = process
        if stepped_word:
            stepped_word[0] = process.pid.serial
        yielded = resume(process.coro, process.context)
        current = None
        if yielded is PARK:
            if process.state == EXITING:  # it ended in this step, or while it was pre-empted in it, and waits in its `finally`
                runq.append(process)
        else:
            stepped_out(process, yielded)
            yielded = None  # it may hold an exception and so all its frames
        look -= 1
        if look == 0:
            before, time = time, now()
            if timers.soonest <= time:
                fire_timers(time)
            looks -= 1
            if time >= end or looks == 0:
                break
            if time - before < LOOK_PERIOD:
                looked = min(2 * looked, MOST_STEPS_A_LOOK)
            else:
                looked = max(looked // 2, 1)
            look = looked
    return None


def stepped_out(process: Process, yielded: Any) -> None:
    """A step ended otherwise than by waiting for something of ours."""
    if yielded is FINISHED:
        finish(process)
    elif type(yielded) is Failed:
        hooks.process_ended(process, yielded.error)
    else:
        hooks.foreign_yield(process, yielded)


def finish(process: Process) -> None:
    """The coroutine returned: quick where nobody is to be told."""
    if (
        process.links is None
        and process.monitored_by is None
        and process.monitors is None
        and process.name is None
        and process.calls is None
        and process.extra is None
        and process.state == RUNNABLE
    ):
        bury(process)
    else:
        hooks.process_ended(process, None)


def bury(process: Process) -> None:
    """The last step of every death: no table, pid or queue leads to the record any more."""
    global newest, alive
    if process.state == DEAD:
        return
    process.state = DEAD
    process.pid.process = None
    older, newer = process.older, process.newer
    if newer is None:
        newest = older
    else:
        newer.older = older
    if older is not None:
        older.newer = newer
    process.older = process.newer = None
    alive -= 1
    if process.timer_at != INFINITY:
        timers.forget()
    process.coro = process.context = process.mailbox = process.task = None
    process.first = EMPTY


def throw_into(process: Process, error: BaseException) -> None:
    """Step a process taken from the queue by raising `error` where it waits."""
    global current, steps, messages_left
    process.greenlet = None
    if process.state == PREEMPTED:
        process.state = RUNNABLE
    messages_left = MESSAGES_A_STEP
    steps += 1
    current = process
    yielded = throw(process.coro, process.context, error)
    current = None
    if yielded is not PARK:
        stepped_out(process, yielded)
    elif process.state == EXITING:
        runq.append(process)


def has_runnable() -> bool:
    """Is a process in the run queue?"""
    return len(runq) > 0


def set_current(process: Process | None) -> None:
    """Whose code runs from here on: for those who step a coroutine outside `run_slice`."""
    global current, messages_left
    current = process
    messages_left = MESSAGES_A_STEP


def preempt(process: Process, greenlet: Any) -> None:
    """The process being stepped leaves its step in the middle, to go on in `greenlet` when its turn comes."""
    suspend(process, greenlet)
    runq.append(process)


def suspend(process: Process, greenlet: Any) -> None:
    """As `preempt`, but it has no turn until somebody enqueues it."""
    global current
    current = None
    process.greenlet = greenlet
    if process.state == RUNNABLE:
        process.state = PREEMPTED


def resume_preempted(process: Process) -> None:
    """The process, taken from the queue, goes on in the middle of its step."""
    global current, messages_left, steps
    process.greenlet = None
    if process.state == PREEMPTED:
        process.state = RUNNABLE
    messages_left = MESSAGES_A_STEP
    steps += 1
    current = process


process_module.next_message = _next_message
if cython.compiled:
    set_outcomes(FINISHED, Failed)  # type: ignore[name-defined]  # noqa: F821
    set_pending(PARK)  # type: ignore[name-defined]  # noqa: F821
    poll_type(Process, 0, poll_receive)  # type: ignore[name-defined]  # noqa: F821
