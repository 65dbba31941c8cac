"""The running system that a command looks into: which one, and the connection to it, which outlives the node that answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from beamlike import application
from nodes import AttachError, Connection, ConnectionLost, list_systems

FAILED = 1
PATIENCE = 10.0  # seconds for another node to answer, when the one that did has died
RETRY = 0.05  # seconds


class System:
    """The system with this owner, or the only one that runs. Raises: AttachError if there is none, or several."""

    def __init__(self, owner: int | None) -> None:
        self.owner = _only_one() if owner is None else owner
        self._connection: Connection | None = None
        self._has_answered = False

    def connect(self) -> Connection:
        """A connection of one's own. Raises: AttachError."""
        try:
            return Connection(self.owner)
        except AttachError as error:
            if self._has_answered:
                raise AttachError(f"the system {self.owner} has ended") from error
            raise

    def ask(self, *request: Any, within: float | None = 0.0) -> Any:
        """The answer to a request that may be made twice (see `Connection.ask`): if the node that is asked dies, another is.

        What acts upon something that it names for good, such as a life of a node, may be; of what else acts, `ask_once`.

        Raises: AttachError, also if the system ends or does not answer.
        """
        end: float | None = None
        while True:
            try:
                return self._ask(request, within)
            except ConnectionLost as error:
                end = end or time.monotonic() + PATIENCE
                if time.monotonic() > end:
                    raise AttachError(f"no node of the system {self.owner} answers") from error
                time.sleep(RETRY)  # its owner may not have heard of the death

    def ask_once(self, *request: Any, within: float | None = 0.0) -> Any:
        """The answer to a request that must not be made twice.

        Raises: AttachError as `ask` does, and if the node that is asked dies: it may have acted before.
        """
        try:
            return self._ask(request, within)
        except ConnectionLost as error:
            text = "the node that was asked died before it answered, so this may have been done, or not: look, and ask again"
            raise AttachError(text) from error

    def _ask(self, request: tuple[Any, ...], within: float | None) -> Any:
        """Ask one node. Raises: AttachError; ConnectionLost."""
        if self._connection is None:
            self._connection = self.connect()
        try:
            answer = self._connection.ask(*request, within=within)
        except TimeoutError as error:
            raise AttachError(f"the system {self.owner} does not answer") from error
        except ConnectionLost:
            self.close()
            raise
        self._has_answered = True
        return answer

    def node(self, name: str) -> dict[str, Any]:
        """What is known of the node of this name, or of this part of it before the `@`. Raises: AttachError."""
        states: list[dict[str, Any]] = list(self.ask("nodes"))
        for state in states:
            if name in (state["name"], state["name"].partition("@")[0]):
                return state
        raise AttachError(f"there is no node {name!r}: there are {', '.join(state['name'] for state in states)}")

    def unikernels(self) -> tuple[list[dict[str, Any]], list[str]]:
        """What is known of each, of all nodes that answer; and those that do not."""
        answers = self.ask("unikernels")
        return [row for rows in answers.values() for row in rows or ()], [name for name, rows in answers.items() if rows is None]

    def close(self) -> None:
        """Closing twice does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _only_one() -> int:
    systems = list_systems()
    if not systems:
        starting = "`beamlike run --nodes N FILE` starts one, or `beamlike boot IMAGE`"
        raise AttachError(f"no system of nodes runs here. {starting}; one node alone cannot be looked into")
    if len(systems) > 1:
        told = "".join(f"\n  --system {owner}   {_command_of(owner)}" for owner in systems)
        raise AttachError(f"{len(systems)} systems run here: say which{told}")
    return systems[0]


def _command_of(owner: int) -> str:
    try:
        return Path(f"/proc/{owner}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def looks_into_system(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is the system; what goes wrong with that is told in one line."""

    @click.option("--system", "owner", type=int, metavar="PID", help="Of which system, by its owner's pid. [default: the only one]")
    @wraps(command)
    def run(owner: int | None, **options: Any) -> None:
        try:
            system = System(owner)
            try:
                command(system, **options)
            finally:
                system.close()
        except AttachError as error:
            fail(str(error))
        except KeyboardInterrupt:
            sys.exit(application.INTERRUPTED)

    return run


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def fail(text: str) -> NoReturn:
    """Say what went wrong, and end."""
    print(f"beamlike: {text}", file=sys.stderr)
    sys.exit(FAILED)


def complete_node_or_unikernel(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tab completion: the names of the nodes and of unikernels."""
    names = complete_node(context, parameter, incomplete)
    with suppress(AttachError):
        found = {row["name"] for row in System(context.params.get("owner")).unikernels()[0]}
        names += sorted(name for name in found if name.startswith(incomplete))
    return names


def complete_node(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tab completion: the names of the nodes."""
    try:
        states = System(context.params.get("owner")).ask("nodes")
    except AttachError:
        return []
    return [state["name"] for state in states if state["name"].startswith(incomplete)]
