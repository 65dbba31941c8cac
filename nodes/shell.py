"""A Python prompt in a running system: what is typed elsewhere is evaluated by a process of this node.

Theory of operation. The process of the connection, or of a console, keeps the names, and an *evaluator*, linked to it, in which the code
runs: so code that computes is pre-empted as any, has one pid and one mailbox from input to input, and is interrupted by a kill, after which
another evaluator goes on with the same names, as in Erlang's shell. The code's frames lie directly on the evaluator's first, which is what
lets the scheduler leave them. What it prints, and what is printed by the processes that it starts, goes to the connection.

Requests come to the process as messages `("request", request)`: `run`, source; `interrupt`; `complete`, text. Answered is: `output`, text;
after each `run` one `done`, with `ok`, `error`, `interrupted` or `left`; `completions`, list.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import pydoc
import rlcompleter
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from importlib import import_module
from types import CodeType
from typing import Any, TextIO, cast

import beamlike
from beamlike import Exit, Pid, exit, make_ref, process_flag, receive, self_pid, send, spawn_link
from beamlike.seam import format_reason

MOST_PRINTED = 4_000_000  # characters that wait to be shown: what prints faster than it is read must not fill memory
PIECE = 64  # characters that a piece of text counts for beyond its own: an object in a list
MOST_COMPLETIONS = 500
_OURS = (
    *(os.path.dirname(os.path.abspath(package)) + os.sep for package in (__file__, beamlike.__file__ or __file__)),
    "beamlike/hot/",  # as compiled code names its files
    "nodes/hot/",
)


class Screen:
    """Where a shell's processes print to."""

    def __init__(self, keeper: Pid) -> None:
        self.keeper: Pid | None = keeper
        self.waiting: list[str] = []
        self.length = 0  # of all that waits, and `PIECE` for each piece
        self.lost = 0  # characters that there was no room for

    def write(self, text: str) -> None:
        """Have it shown. The keeper is told when there is something again."""
        kept = text[: max(0, MOST_PRINTED - PIECE - self.length)]
        self.lost += len(text) - len(kept)
        if not kept:
            return
        self.length += PIECE + len(kept)
        self.waiting.append(kept)
        if len(self.waiting) == 1 and self.keeper is not None:
            send(self.keeper, "output")

    def take(self) -> str:
        """All that waits."""
        waiting, lost = self.waiting, self.lost
        self.waiting, self.length, self.lost = [], 0, 0
        if lost:
            waiting.append(f"\n[{lost} characters are not shown: they came faster than they were read]\n")
        return "".join(waiting)


_screen: ContextVar[Screen | None] = ContextVar("beamlike_screen", default=None)


class Stdout:
    """`sys.stdout` of a node with a shell: of a shell's processes what they print goes there, of all others where it went before.

    All else, as `fileno` and `encoding`, is what it was: so it inherits from no file, which would have answers of its own.
    """

    shells = 0

    def __init__(self, under: TextIO) -> None:
        self.under = under

    def write(self, text: str, /) -> int:
        """As any text file's."""
        screen = _screen.get()
        if screen is None or screen.keeper is None:
            return self.under.write(text)
        screen.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        """As any text file's."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """A shell's screen is none: nobody can be asked there."""
        return _screen.get() is None and self.under.isatty()

    def flush(self) -> None:
        """Of what goes elsewhere; a shell shows at once."""
        self.under.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.under, name)

    @classmethod
    def begin(cls) -> None:
        """One more shell."""
        if cls.shells == 0:
            sys.stdout = cast(TextIO, cls(sys.stdout))
        cls.shells += 1

    @classmethod
    def end(cls) -> None:
        """One less."""
        cls.shells -= 1
        if cls.shells == 0 and isinstance(sys.stdout, Stdout):
            sys.stdout = sys.stdout.under


def _help(*about: Any) -> None:
    """Python's `help`, as plain text in one go: a pager, and a conversation, would ask the terminal of the node."""
    if about:
        pydoc.Helper(output=sys.stdout).help(*about)
    else:
        print("help(object) tells about an object, help('topics') about Python")


class Shell:
    """See the module. `write` hands an answer to whoever has asked."""

    def __init__(self, write: Callable[[tuple[Any, ...]], Awaitable[None]]) -> None:
        self.write = write
        self.names: dict[str, Any] = {"__name__": "__shell__", "__builtins__": __builtins__, "help": _help}
        for package in ("beamlike", "nodes"):
            module = import_module(package)
            self.names |= {name: getattr(module, name) for name in module.__all__}
        self.ref = make_ref()  # of what is to be evaluated: other messages are the code's own
        self.sources: list[str] = []  # of all inputs, for tracebacks
        self.is_running = False
        self.is_interrupted = False
        self.evaluator: Pid | None = None

    async def run(self) -> None:
        """Until the process that calls this is cancelled, or another than the evaluator that it is linked to ends, or the code has left."""
        process_flag("trap_exit", True)
        self.keeper = self_pid()
        self.screen = Screen(self.keeper)
        _screen.set(self.screen)
        Stdout.begin()
        try:
            self._start_evaluator()
            await self._keep()
        finally:
            self.screen.keeper = None
            Stdout.end()
            if self.evaluator is not None:
                exit(self.evaluator, "kill")

    async def _keep(self) -> None:
        while True:
            match await receive():
                case ("request", ("run", str(source))) if not self.is_running and self.evaluator is not None:
                    self.is_running = True
                    send(self.evaluator, (self.ref, source))
                case ("request", ("interrupt",)) if self.is_running and self.evaluator is not None:
                    self.is_interrupted = True
                    exit(self.evaluator, "kill")
                case ("request", ("complete", str(text))):
                    await self.write(("completions", self._completions(text)))
                case "output":
                    await self._show()
                case ("done", str(outcome)):
                    await self._done(outcome)
                    if outcome == "left":
                        return
                case Exit(sender, reason) if sender == self.evaluator:
                    await self._replace_evaluator(reason)
                case Exit():
                    return

    async def _show(self) -> None:
        if text := self.screen.take():
            await self.write(("output", text))

    async def _done(self, outcome: str) -> None:
        await self._show()
        if self.is_running:
            self.is_running = False
            await self.write(("done", outcome))

    async def _replace_evaluator(self, reason: Any) -> None:
        was_interrupted, self.is_interrupted = self.is_interrupted, False
        if not was_interrupted:
            self.screen.write(f"the process of this shell has ended: {format_reason(reason)}; another goes on with its names\n")
        self._start_evaluator()
        await self._done("interrupted" if was_interrupted else "error")

    def _start_evaluator(self) -> None:
        self.evaluator = spawn_link(self._evaluate)

    def _completions(self, text: str) -> list[str]:
        completer = rlcompleter.Completer(self.names)
        found: list[str] = []
        while len(found) < MOST_COMPLETIONS and (match := completer.complete(text, len(found))) is not None:
            found.append(match)
        return found

    # --- in the evaluator ---

    async def _evaluate(self) -> None:
        process_flag("label", "shell")
        while True:
            _, source = await receive(self._is_input)
            outcome = "ok"
            try:
                for code, is_shown in self._compiled(source):
                    value = eval(code, self.names)
                    if code.co_flags & inspect.CO_COROUTINE:
                        value = await value
                    if is_shown and value is not None:
                        self.screen.write(repr(value) + "\n")
                        self.names["_"] = value
            except SystemExit:
                outcome = "left"
            except Exception as error:  # noqa: BLE001 - it is shown to who typed it
                self.screen.write(self._told(error))
                outcome = "error"
                del error
            send(self.keeper, ("done", outcome))

    def _is_input(self, message: Any) -> bool:
        return type(message) is tuple and len(message) == 2 and message[0] == self.ref

    def _compiled(self, source: str) -> list[tuple[CodeType, bool]]:
        """Each statement, and whether its value is to be shown. Raises: SyntaxError and what else `compile` does."""
        self.sources.append(source)
        file = f"<input {len(self.sources)}>"
        codes = []
        for statement in ast.parse(source, file).body:
            is_shown = isinstance(statement, ast.Expr)
            tree = ast.Expression(statement.value) if isinstance(statement, ast.Expr) else ast.Module([statement], [])
            mode = "eval" if is_shown else "exec"
            codes.append((compile(tree, file, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), is_shown))
        return codes

    def _told(self, error: Exception) -> str:
        """A traceback of the user's own frames."""
        files = {f"<input {number}>": source for number, source in enumerate(self.sources, 1)}
        linecache.cache.update({file: (len(source), None, source.splitlines(True), file) for file, source in files.items()})
        try:
            told = traceback.TracebackException.from_exception(error)
            _strip(told)
            return "".join(told.format())
        finally:
            for file in files:
                del linecache.cache[file]


def _strip(told: traceback.TracebackException) -> None:
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if not frame.filename.startswith(_OURS)])
    for each in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if each is not None:
            _strip(each)
