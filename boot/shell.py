"""The prompt of `beamlike shell`: lines are read here, and evaluated by a process of the system (see `nodes.shell`)."""

from __future__ import annotations

import os
import readline
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beamlike import application
from boot.inputs import Inputs, NotPythonError
from nodes import AttachError, Connection, ConnectionLost

FAILED = 1
MOST_HISTORY = 1000  # lines
STATUSES = {"ok": 0, "left": 0, "error": FAILED, "interrupted": application.INTERRUPTED}


def run_shell(connection: Connection, node: str | None) -> int:
    """Until the end of stdin; the exit status. Raises: AttachError if there is no shell to be had, or its node is lost."""
    try:
        name = connection.ask("shell", node)
    except (ConnectionLost, TimeoutError) as error:
        asked = "the system" if node is None else f"the node {node}"
        raise AttachError(f"{asked} does not answer, so there is no shell") from error
    shell = Shell(connection, name)
    try:
        if not sys.stdin.isatty():
            return STATUSES[shell.evaluate(sys.stdin.read())]
        print(f"A process on {name}. `await` works here; Ctrl-C interrupts, Ctrl-D leaves.")
        with _history():
            readline.set_completer(shell.complete)
            readline.parse_and_bind("tab: complete")
            return shell.prompt()
    except (ConnectionLost, TimeoutError) as error:
        raise AttachError(f"the node {name}, where this shell ran, is lost") from error


class Shell:
    """One shell, on the node of this name."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.inputs = Inputs(name.partition("@")[0])
        self.found: list[str] = []  # by the last completion
        connection.wait_for_ever()

    def prompt(self) -> int:
        """Read and have evaluated what is typed."""
        while True:
            try:
                source = self.inputs.add(input(self.inputs.prompt))
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt")
                self.inputs.forget()
            except NotPythonError as error:
                print(error)
            else:
                outcome = None if source is None else self.evaluate(source)
                if outcome == "interrupted":
                    print("KeyboardInterrupt")
                if outcome == "left":
                    return 0

    def evaluate(self, source: str) -> str:
        """Have it evaluated, and show what it prints; the outcome. Ctrl-C interrupts it; a second one leaves it alone, and raises."""
        self.connection.send("run", source)
        with self._interrupting():
            while True:
                match self.connection.receive():
                    case ("output", str(text)):
                        _show(text)
                    case ("done", str(outcome)):
                        return outcome

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Ctrl-C is passed on, and does not interrupt the reading of a frame."""
        came = 0

        def on_interrupt(*_: Any) -> None:
            nonlocal came
            came += 1
            if came > 1:
                raise KeyboardInterrupt
            self.connection.send("interrupt")

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def complete(self, text: str, number: int) -> str | None:
        """For readline: the completions of a text, one after the other."""
        if not text.strip():
            return "\t" if number == 0 else None
        if number == 0:
            self.found = self._ask_completions(text)
        return self.found[number] if number < len(self.found) else None

    def _ask_completions(self, text: str) -> list[str]:
        self.connection.send("complete", text)
        while True:
            match self.connection.receive():
                case ("output", str(shown)):
                    _show(shown)
                case ("completions", found):
                    return list(found)


def _show(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


@contextmanager
def _history() -> Iterator[None]:
    """What was typed before can be had again by the arrow keys, and what is typed now will be."""
    home = os.environ.get("XDG_STATE_HOME")
    file = (Path(home) if home else Path.home() / ".local" / "state") / "beamlike" / "history"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    except OSError as error:
        print(f"(no history: {error})", file=sys.stderr)
        yield
        return
    readline.set_history_length(MOST_HISTORY)
    try:
        yield
    finally:
        readline.write_history_file(file)
