"""Tasks: processes that compute one value for the process that started them, its owner.

A task answers as a server answers a call, but what waits for the answer (`promises`) is there from the start. So the value, or the
reason of a task that died, is kept until it is asked for, and nothing passes through the owner's mailbox.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import Any, Literal

from beamlike import promises, signals
from beamlike.behaviours import stopping
from beamlike.behaviours.asyncness import check_function
from beamlike.behaviours.child import ChildSpec, start_process
from beamlike.behaviours.dynamic_supervisor import DynamicSupervisor
from beamlike.exits import CallError, CallTimeoutError, format_reason
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import ANSWERED, BEGUN, DEFAULT_TIMEOUT, FAILED, Caller, Wait, reply
from beamlike.hot.ids import Pid, Ref
from beamlike.hot.process import INFINITY
from beamlike.hot.uninterrupted import forbid_preemption
from beamlike.hot.values import copy_argument
from beamlike.privileged import function_name, permit_spawn
from beamlike.processes import start
from beamlike.records import record

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]
Outcome = tuple[Literal["ok", "exit"], Any]

MAX_CONCURRENCY = 8  # tasks of `stream` at a time: they share one core, so more of them help only where they wait


@record
class Task:
    """A task that was started. Only its owner can wait for it: `await task` is `await Task.await_(task)`."""

    pid: Pid
    owner: Pid
    ref: Ref

    def __await__(self) -> Generator[Any, Any, Any]:
        return Task.await_(self).__await__()

    @staticmethod
    def async_(fn: AsyncFunction, *args: Any) -> Task:
        """Start a process that computes `await fn(*args)`, linked to the caller, its owner.

        If it crashes, so does the owner, unless that traps exits. A task that is through leaves nothing in the mailbox, not even an `Exit`.
        Arguments are as for `spawn`. The value is sent, so it has to be a message.

        Raises: RuntimeError outside a process; TypeError if `fn` is no async function. (What else can be called is called by the task,
        which crashes if there is nothing to await.)
        """
        check_function("Task.async_", fn)
        me = scheduler.caller("Task.async_")
        ref = scheduler.make_ref()
        forbid_preemption(True)  # the task must not answer before it is waited for
        try:
            child = start(_compute, (me.pid, ref, _callers(), fn, args), parent=me, runs=function_name(fn))
            signals.join(me, child)
            pid = child.pid
            promises.promise(pid, ref)
        finally:
            forbid_preemption(False)
        return Task(pid, me.pid, ref)

    @staticmethod
    async def await_(task: Task, timeout: float | None = DEFAULT_TIMEOUT) -> Any:
        """The value of a task, once. A checkpoint.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            CallError: the task ended without; `reason` says with what.
            CallTimeoutError: not yet. The task goes on, and can be awaited again, or `shutdown`. (Unlike Elixir, where the caller exits.)
            RuntimeError: the caller is not its owner, or has had its value.
        """
        wait = _wait_for(task)
        await promises.until_one_is_over([wait], timeout)
        if wait.state == BEGUN:
            raise CallTimeoutError(f"task {task.pid}: no value in {timeout} s", "timeout")
        wait.end()
        if wait.state == FAILED:
            raise CallError(f"task {task.pid} ended: {format_reason(wait.value)}", wait.value)
        return wait.value

    @staticmethod
    async def yield_(task: Task, timeout: float | None = DEFAULT_TIMEOUT) -> Outcome | None:
        """`("ok", value)` or `("exit", reason)`, once; None if the task is not through in time, and it goes on. Raises as `await_`."""
        wait = _wait_for(task)
        await promises.until_one_is_over([wait], timeout)
        return None if wait.state == BEGUN else _outcome(wait)

    @staticmethod
    async def shutdown(task: Task, timeout: float | None = DEFAULT_TIMEOUT) -> Outcome:
        """End a task by `shutdown`, and by `kill` if it has not ended in `timeout` seconds.

        Returns: `("exit", reason)`, or `("ok", value)` if it was through before. Raises: RuntimeError as `await_`.
        """
        wait = _wait_for(task)
        signals.unlink(task.pid)
        me = scheduler.caller("Task.shutdown")
        signals.exit_own(me, task.pid, "shutdown")
        await promises.until_one_is_over([wait], timeout)
        if wait.state == BEGUN:
            signals.exit_own(me, task.pid, "kill")
            await promises.until_one_is_over([wait], None)
        return _outcome(wait)

    @staticmethod
    async def stream(
        fn: AsyncFunction,
        items: Iterable[Any],
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        ordered: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> AsyncGenerator[Outcome, None]:
        """Compute `await fn(item)` for each item in a task of its own, and yield `("ok", value)` or `("exit", reason)` of each.

        At most `max_concurrency` tasks whose results were not taken are there at a time, so items are taken no faster than results are.
        The tasks are linked to the caller: it sees `("exit", reason)` of a crash if it traps exits, and gets no `Exit` besides; else it
        crashes, too. If the iteration is given up, what is at work is killed: at once if it is closed (`contextlib.aclosing`), else when
        Python drops it.

        Args:
            ordered: yield in the order of `items`, else as the tasks are through.
            timeout: seconds that each task has; None: for ever.
            on_timeout: what becomes of one that takes longer: `exit` raises CallTimeoutError, `kill_task` yields `("exit", "timeout")`.

        Raises: CallTimeoutError; TypeError or ValueError for a wrong argument.
        """
        check_function("Task.stream", fn)
        if not isinstance(items, Iterable):
            raise TypeError(f"Task.stream: items is an iterable, not {items!r}")
        if type(ordered) is not bool:
            raise TypeError(f"Task.stream: ordered is True or False, not {ordered!r}")
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ValueError(f"Task.stream: max_concurrency is a number of tasks >= 1, not {max_concurrency!r}")
        if on_timeout not in ("exit", "kill_task"):
            raise ValueError(f"Task.stream: on_timeout is 'exit' or 'kill_task', not {on_timeout!r}")
        seconds = scheduler.check_timeout(timeout)
        source = iter(items)
        waits: list[Wait] = []  # in the order of their items
        deadlines: dict[Ref, float] = {}
        try:
            while True:
                while len(waits) < max_concurrency:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    wait = _wait_for(Task.async_(fn, item))
                    waits.append(wait)
                    deadlines[wait.ref] = INFINITY if seconds is None else scheduler.now() + seconds
                if not waits:
                    return
                looked_at = waits[:1] if ordered else waits
                nearest = min((deadlines[wait.ref] for wait in waits if wait.state == BEGUN), default=INFINITY)
                await promises.until_one_is_over(looked_at, max(0.0, nearest - scheduler.now()))
                now = scheduler.now()
                for wait in waits:
                    if wait.state == BEGUN and deadlines[wait.ref] <= now:
                        if on_timeout == "exit":
                            raise CallTimeoutError(f"Task.stream: task {wait.server} was not through in {timeout} s", "timeout")
                        wait.fail("timeout")  # first, for the end of the task fails it, too
                        _kill(wait)
                for wait in [wait for wait in looked_at if wait.state != BEGUN]:
                    waits.remove(wait)
                    stopping.flush_exit(wait.server, None)
                    yield _outcome(wait)
        finally:
            for wait in waits:
                _kill(wait)
                wait.end()


class TaskSupervisor:
    """A DynamicSupervisor of tasks: the crash of a task is no crash of who started it. Tasks are `temporary`: never restarted."""

    start_link = DynamicSupervisor.start_link
    child_type = DynamicSupervisor.child_type

    @staticmethod
    async def async_nolink(supervisor: Any, fn: AsyncFunction, *args: Any) -> Task:
        """As `Task.async_`, but the task is linked to the supervisor instead. It goes on when the owner ends.

        Raises: as `Task.async_`; ChildError, CallError, BadNameError as `DynamicSupervisor.start_child`.
        """
        check_function("TaskSupervisor.async_nolink", fn)
        me = scheduler.current_process()
        permit_spawn(me, fn)
        ref = scheduler.make_ref()
        spec = ChildSpec("task", _start_told, (function_name(fn), me.pid, ref, _callers()), restart="temporary")
        pid = await DynamicSupervisor.start_child(supervisor, spec)
        promises.promise(pid, ref)
        work = (fn, args)
        if pid.process is not None:
            scheduler.deliver(pid.process, ("compute", ref, copy_argument(work)))  # as `spawn`, what cannot be sent is handed over
        else:
            scheduler.tell(pid, ("compute", ref, work))
        return Task(pid, me.pid, ref)

    @staticmethod
    async def start_child(supervisor: Any, fn: AsyncFunction, *args: Any) -> Pid:
        """Run `await fn(*args)` under the supervisor, for its effect: nobody awaits it.

        `fn` and `args` travel as a message. Raises as `async_nolink`.
        """
        check_function("TaskSupervisor.start_child", fn)
        permit_spawn(scheduler.current_process(), fn)
        return await DynamicSupervisor.start_child(supervisor, ChildSpec("task", start_process, (fn, *args), restart="temporary"))


def _callers() -> tuple[Pid, ...]:
    """On whose behalf a task of the caller works, nearest first."""
    me = scheduler.current_process()
    return (me.pid, *(() if me.extra is None else me.extra.callers))


async def _compute(owner: Pid, ref: Ref, callers: tuple[Pid, ...], fn: AsyncFunction, args: tuple[Any, ...]) -> None:
    """The process of a task."""
    more = extra(scheduler.current_process())
    more.callers = callers
    more.initial_call = f"{getattr(fn, '__module__', '?')}:{getattr(fn, '__qualname__', fn)}"
    value = await scheduler.start_coroutine(fn, args)
    reply(Caller(owner, ref), value)
    signals.unlink(owner)


async def _start_told(runs: str, *args: Any) -> Pid:
    """The `start` of a task under a supervisor, which runs a function of this name."""
    me = scheduler.caller("spawn_link")
    child = start(_compute_when_told, args, parent=me, runs=runs)
    signals.join(me, child)
    return child.pid


async def _compute_when_told(owner: Pid, ref: Ref, callers: tuple[Pid, ...]) -> None:
    """The process of a task under a supervisor. What to do comes when the owner is sure to learn the outcome."""
    watch = signals.monitor(owner)
    match await scheduler.receive():
        case ("compute", told, (fn, args)) if told == ref:
            signals.demonitor(watch, flush=True)
            await _compute(owner, ref, callers, fn, args)


def _wait_for(task: Task) -> Wait:
    if type(task) is not Task:
        raise TypeError(f"expected a Task, not {task!r}")
    me = scheduler.self_pid()
    if task.owner != me:
        raise RuntimeError(f"task {task.pid} belongs to {task.owner}: {me} cannot wait for it")
    wait = promises.promised(task.ref)
    if wait is None:
        raise RuntimeError(f"the value of task {task.pid} was taken before: it is there once")
    if wait.server != task.pid:
        raise RuntimeError(f"{task!r} was not made by Task: its value is promised by {wait.server}")
    return wait


def _outcome(wait: Wait) -> Outcome:
    """How it went; and the promise is done with."""
    wait.end()
    return "ok" if wait.state == ANSWERED else "exit", wait.value


def _kill(wait: Wait) -> None:
    """Kill the task of a stream, unseen by its owner. Whoever runs: Python may drop the stream at any time."""
    task, owner = wait.server.process, wait.process
    if task is None:
        return
    for one, other in ((task, owner), (owner, task)):
        if one.links is not None:
            one.links.discard(other.pid)
    signals.end(task, "killed")
