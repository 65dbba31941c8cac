"""`run`: a node that has the interpreter for itself, Ctrl-C and SIGTERM included."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import trio

from beamlike import reports
from beamlike.extras import extra
from beamlike.node import Node

T = TypeVar("T")
TERMINATED = 128 + signal.SIGTERM  # the exit status, as shells give it


def run(
    main: Callable[..., Coroutine[Any, Any, T]],
    *args: Any,
    name: str = "main",
    preempt: bool = True,
    seed: int | None = None,
) -> T:
    """Run a node in this interpreter, with `main(*args)` as its first process, until that ends; return what it returned.

    Then the node's supervisors are shut down, the last started first, other processes get an exit signal `shutdown`, and what has
    not ended in a second is killed. Ctrl-C and SIGTERM do the same, and raise KeyboardInterrupt or SystemExit(143) at the end; a second
    one does not wait. A program that has a handler of its own for one of the two keeps it.

    A thread that a process waits for by `trio.to_thread.run_sync` without `abandon_on_cancel` is waited for, however long it takes:
    use `blocking`.

    Args:
        name: of the node; `@machine` is added unless it has one.
        preempt: whether a process that computes in pure Python is interrupted for others (P1). Off the main thread it never is.
        seed: deterministic mode, for tests: who runs next is drawn from this seed, time is virtual and jumps to the next timer when
            nobody can run, and pre-emption is off. Same seed, same program, same order; what happens in trio mode and in threads is
            outside of that. When everybody waits for somebody else, for ever, `main` gets a RuntimeError that says who waits where; not
            while the program has other threads, which may send.

    Raises: what `main` raised; ExitError if it was ended by an exit signal; RuntimeError if a node runs already.
    """
    if not callable(main):
        raise TypeError(f"run expects an async function (and its arguments apart), not {main!r}")
    opened = Node(name, preempt=preempt, seed=seed)
    if seed is None:
        clock_ = None
    else:
        from trio.testing import MockClock  # not above: where there is a pytest it imports that, which takes 0.2 s

        clock_ = MockClock(autojump_threshold=0)
    with _Interrupt(opened) as interrupt:  # trio leaves SIGINT alone if somebody has it
        try:
            trio.run(opened.run_main, main, args, clock=clock_, restrict_keyboard_interrupt_to_checkpoints=True)
        finally:
            opened.discard()
    try:
        result = opened.main.result()
    except BaseException as failure:
        if interrupt.came and failure is opened.main.failure and opened.main.process is not None:
            extra(opened.main.process).is_main = False  # it is not raised, so it is reported
            reports.crash(opened.main.process, failure, opened.main.reason)
        interrupt.raise_if_came()
        raise
    interrupt.raise_if_came()
    return result  # type: ignore[no-any-return]


class _Interrupt:
    """Ctrl-C and SIGTERM while `run` owns the interpreter: the first one stops the tree in order, the second one does not wait, the
    third one leaves. A handler of the program's own is left alone."""

    DEFAULTS: ClassVar[dict[int, Any]] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self, node: Node) -> None:
        self.node = node
        self.came: list[int] = []
        self.installed: list[int] = []

    def __enter__(self) -> _Interrupt:
        if threading.current_thread() is threading.main_thread():
            for signum, default in self.DEFAULTS.items():
                if signal.getsignal(signum) is default:
                    signal.signal(signum, self._on_signal)
                    self.installed.append(signum)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in self.installed:
            if signal.getsignal(signum) == self._on_signal:  # the program may have set one of its own meanwhile
                signal.signal(signum, self.DEFAULTS[signum])

    def raise_if_came(self) -> None:
        """The end of a program that was told to end: what it returned does not count."""
        if self.came:
            raise KeyboardInterrupt if self.came[0] == signal.SIGINT else SystemExit(TERMINATED)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.came.append(signum)
        if self.node.token is None:
            self.raise_if_came()
        elif len(self.came) > 2:
            os._exit(128 + signum)
        else:
            with suppress(trio.RunFinishedError):  # the node is through
                self.node.token.run_sync_soon(self._stop)

    def _stop(self) -> None:
        self.node.interrupt(at_once=len(self.came) > 1)
