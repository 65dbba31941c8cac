"""The command line `beamlike`.

Exit statuses: what the program's main gave; 1 if it failed; 2 if there was nothing to run; 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

import beamlike
import nodes
from beamlike import application
from boot.logs import LEVELS, show_logs
from nodes.seam import named

FAILED = 1
NOTHING_TO_RUN = 2
MOST_STATUS = 255
OPENERS = ("run", "node", "run_in_asyncio")  # of beamlike: what a program opens a node of its own with
PACKAGES = ("beamlike", "boot", "caps", "cells", "drivers", "nodes", "unikernels")

log = logging.getLogger("beamlike.main")


def _answer_version(context: click.Context, option: click.Parameter, is_given: bool) -> None:
    if is_given:
        _print_versions()
        context.exit()


ELSEWHERE = {
    "boot": "boot.boot_command:boot",
    "build-unikernel": "boot.build:build_unikernel",
    "cell": "boot.cell:cell",
    "console": "boot.console:console",
    "halt": "boot.boot_command:halt",
    "image": "boot.image_command:image",
    "init": "boot.init_command:init",
    "kill-node": "boot.looking:kill_node",
    "nodes": "boot.looking:nodes",
    "ps": "boot.looking:ps",
    "shell": "boot.looking:shell",
    "top": "boot.looking:top",
    "tree": "boot.looking:tree",
}
"""Commands, and where they are: imported by who asks for one, for to import all takes a quarter of a second."""


class Commands(click.Group):
    """The commands here, and those elsewhere."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Their names."""
        return sorted([*super().list_commands(context), *ELSEWHERE])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this name."""
        if name not in ELSEWHERE:
            return super().get_command(context, name)
        try:
            command: click.Command = named(ELSEWHERE[name])
        except KeyboardInterrupt:
            sys.exit(application.INTERRUPTED)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_answer_version, help="Print the versions and exit.")
def main() -> None:
    """An actor operating system in Python: Erlang's processes and supervisors, on trio."""


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="Show what is at least as bad.")
@click.option("--json", "as_json", is_flag=True, help="Log one JSON object a line, for machines.")
@click.option("--nodes", "count", type=click.IntRange(1), help="Run on so many nodes, each an OS process; main on the first.")
@click.argument("target", metavar="FILE[:FUNCTION]", type=click.Path())
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1)
def run(target: str, arguments: tuple[str, ...], log_level: str, as_json: bool, count: int | None) -> NoReturn:
    """Run the async function main (or FUNCTION) of a Python file as the first process of a node, until it ends.

    If it returns the pid of a supervisor, the program runs until that ends, and has failed unless that ended with `normal`. ARGUMENTS
    are in sys.argv, as in any script, and the file's folder is where it imports from.

    `--nodes N` may stand behind FILE as well. What comes later is the program's.

    An int that main returns is the exit status, and 1 means that it failed. Ctrl-C stops the supervisors in order, and the status is
    130; a second Ctrl-C does not wait.

    FILE is loaded under its own name, not as __main__ (test.py, which Python has one of, as test_): what is below
    `if __name__ == "__main__":` is not run.

    Reports of crashes go to stderr.
    """
    count, arguments = _nodes_behind(count, arguments)
    path, function = _split(target)
    show_logs(log_level, as_json=as_json)
    refuse = partial(_refuse, as_json)
    _refuse_strangers(path.resolve().parent, refuse)
    sys.argv[:] = [str(path), *arguments]
    try:
        with _no_node(path, refuse):
            program = application.load(path, function)
    except application.LoadError as error:
        refuse(str(error))
    except SyntaxError as error:
        refuse("this is not Python:\n" + "".join(traceback.format_exception_only(error)).rstrip())
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            raise
        log.critical("%s", ending.code)
        sys.exit(FAILED)
    except Exception as error:
        trace = _own_part(error.__traceback__, str(path.resolve()))
        log.critical("%s failed while it was loaded", path, exc_info=error.with_traceback(trace))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)
    if count is None:
        execute = partial(run_and_report, path)
    else:
        execute = partial(_run_on_nodes, path, count, (log_level, as_json))
    status = application.run_application(program, run=execute)
    if not 0 <= status <= MOST_STATUS:
        log.critical("%s returned %d: an exit status is 0 to %d", path, status, MOST_STATUS)
        status = FAILED
    sys.exit(status)


def _nodes_behind(count: int | None, arguments: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
    """`FILE --nodes N` says the same as `--nodes N FILE`. What comes later is the program's."""
    option, equals, value = arguments[0].partition("=") if arguments else ("", "", "")
    if option != "--nodes":
        return count, arguments
    rest = arguments[1:]
    if not equals:
        if not rest:
            raise click.BadOptionUsage("--nodes", "Option '--nodes' requires an argument.")
        value, *others = rest
        rest = tuple(others)
    try:
        return click.IntRange(1)(value), rest
    except click.BadParameter as error:
        raise click.BadParameter(error.message, param_hint="'--nodes'") from None


def run_and_report(path: Path, execute: Callable[..., Coroutine[Any, Any, int]], program: application.Application) -> int:
    """`beamlike.run`, whose failure goes to the log, with a traceback that begins in the program's file."""
    try:
        return beamlike.run(execute, program)
    except beamlike.ExitError as error:
        log.critical("%s: %s", path, error)
    except Exception as error:
        log.critical("%s failed", path, exc_info=error.with_traceback(_own_part(error.__traceback__, program.path)))
    return FAILED


def _run_on_nodes(
    path: Path, count: int, logs: tuple[str, bool], execute: Callable[..., Coroutine[Any, Any, int]], program: application.Application
) -> int:
    """`nodes.run`, whose failure goes to the log."""
    try:
        return nodes.run(execute, program, nodes=count, file=program.path, setup=("boot.logs:show_logs", logs))
    except (beamlike.ExitError, nodes.NodeLost, nodes.StartError) as error:
        log.critical("%s: %s%s", path, error, "".join(getattr(error, "__notes__", ())))
    return FAILED


@contextmanager
def _no_node(path: Path, refuse: Callable[[str], NoReturn]) -> Iterator[None]:
    """Refuse a program that opens a node of its own while it is loaded: everything would be run twice.

    What it imports from `beamlike` then stays as it is here: it cannot open one later either, where one is open.
    """

    def opened(name: str, *args: object, **options: object) -> NoReturn:
        refuse(f'{path} calls {name}(), but `beamlike run` opens the node: move the call below `if __name__ == "__main__":`')

    kept = {name: getattr(beamlike, name) for name in OPENERS}
    try:
        for name in OPENERS:
            setattr(beamlike, name, partial(opened, name))
        yield
    finally:
        for name in OPENERS:
            setattr(beamlike, name, kept[name])


def _own_part(trace: TracebackType | None, path: str) -> TracebackType | None:
    """A traceback from where it enters the file on; all of it if it does not."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename != path:
        inner = inner.tb_next
    return inner or trace


def _split(target: str) -> tuple[Path, str]:
    """The file and the function that `FILE[:FUNCTION]` names."""
    file, colon, function = target.rpartition(":")
    if colon and function.isidentifier() and not Path(target).exists():
        return Path(file), function
    return Path(target), "main"


def _refuse_strangers(folder: Path, refuse: Callable[[str], NoReturn]) -> None:
    """A module of the user's that is called as one of our packages would be imported in its place."""
    if folder == Path(__file__).resolve().parents[1]:
        return
    for name in PACKAGES:
        for stranger in (folder / f"{name}.py", folder / name / "__init__.py"):
            if stranger.exists():
                refuse(f"{stranger} would hide beamlike's own package {name!r}: rename it")


def _refuse(as_json: bool, text: str) -> NoReturn:
    if as_json:
        log.critical("%s", text)
    else:
        print(f"beamlike: {text}", file=sys.stderr)
    sys.exit(NOTHING_TO_RUN)


@main.command()
@click.option("--minutes", type=click.FloatRange(0.01), default=0.3, show_default=True, help="How long.")
@click.option("--every", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Seconds from kill to kill.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides who is drawn to be killed.")
@click.option("--nodes", "count", type=click.IntRange(3), default=4, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Show nothing but the verdict, as one JSON object.")
def demo(minutes: float, every: float, seed: int, count: int, as_json: bool) -> NoReturn:
    """Kill node after node under a key-value store, and show that no write that was acknowledged is lost.

    Clients write all the time to a store of process pairs, and have a pool of workers compute; a node, or the forge that starts them, is
    killed every second. At the end every acknowledged write is read back: the status is 0 if none is lost, none was executed twice, no
    call hung, and nothing is left over, else 1. Ctrl-C ends the run early, with its verdict and status 130.
    """
    from rich.console import Console

    from boot.demo.show import run_demo

    screen = Console(highlight=False, force_terminal=False if os.environ.get("NO_COLOR") else None)
    try:
        verdict, is_early = run_demo(None if as_json else screen, seconds=minutes * 60, every=every, seed=seed, count=count)
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)
    except (beamlike.ExitError, nodes.StartError) as error:
        print(f"beamlike: {error}{''.join(getattr(error, '__notes__', ()))}", file=sys.stderr)
        sys.exit(FAILED)
    if as_json:
        print(json.dumps(verdict.as_json()))
    else:
        for line in verdict.lines():
            screen.print(line, style="bold red" if line.startswith("WRONG") else None, soft_wrap=True)
    sys.exit(application.INTERRUPTED if is_early else FAILED if verdict.faults else 0)


@main.command()
def version() -> None:
    """Print the versions of beamlike and of what it runs on."""
    _print_versions()


def _print_versions() -> None:
    import importlib.metadata

    try:
        own = importlib.metadata.version("beamlike")
    except importlib.metadata.PackageNotFoundError:
        own = f"of {Path(__file__).resolve().parents[1]}, not installed"
    print(f"beamlike {own}")
    print(f"{platform.python_implementation()} {platform.python_version()}, trio {importlib.metadata.version('trio')}")


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes this command line with the Tab key in your shell.

    \b
    bash:  eval "$(beamlike completion bash)"         in ~/.bashrc
    zsh:   eval "$(beamlike completion zsh)"          in ~/.zshrc
    fish:  beamlike completion fish > ~/.config/fish/completions/beamlike.fish
    """
    script = get_completion_class(shell)
    assert script is not None  # click has these three
    print(script(main, {}, "beamlike", "_BEAMLIKE_COMPLETE").source())
