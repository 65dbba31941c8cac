"""The command `cell`: runs an untrusted script behind walls, and says which walls this machine gives."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import select
import signal
import sys
from contextlib import suppress
from functools import partial
from importlib.util import decode_source
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click

import beamlike
import caps
from beamlike import application
from boot import tables
from boot.attach import FAILED, as_json_option
from boot.logs import show_logs
from cells import CellEnded, CellOutput, CellUnavailable, Limits, demand, spawn_cell
from cells import probe as probe_walls

UNAVAILABLE = 125  # exit statuses, as of `timeout` and `docker run`
OVER_TIME = 124
KILLED = 128 + signal.SIGKILL  # which is what the kernel does to a program that takes too much memory
BROKEN_PIPE = 128 + signal.SIGPIPE
OVER_OUTPUT = 128 + signal.SIGXFSZ
VIOLATION = 128 + signal.SIGSYS
UNITS = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}
SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}
MOST_BYTES = 1 << 46  # of any size: what an OS process can address, about
SHORTEST, LONGEST = 0.001, 1e9  # seconds of CPU time that can be a limit
LOOK = 0.2  # seconds between two looks whether Ctrl-C came, while there is no room for output
CHUNK = 1 << 20  # bytes read at a time
STREAMS = {"stdout": 1, "stderr": 2}

strict_option = click.option("--strict", is_flag=True, help="Require also the walls that a cell can do without.")


def as_size(context: click.Context, option: click.Parameter, value: str) -> int:
    """Bytes: 65536, 512K, 64M, 1.5G."""
    number = _scaled(value.upper(), UNITS)
    if number is None:
        raise click.BadParameter(f"{value!r} is no size: write a number of bytes, or one with K, M, G or T behind it, as 64M")
    if not 1 <= number <= MOST_BYTES:
        raise click.BadParameter(f"{value!r} is no size that can be had: write 1 to {MOST_BYTES >> 40}T")
    return int(number)


def as_duration(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Seconds: 2, 2s, 500ms, 1m."""
    if value is None:
        return None
    seconds = _scaled(value, SECONDS)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is no duration: write a number of seconds, or one with ms, s or m behind it, as 500ms")
    if not SHORTEST <= seconds < LONGEST:
        raise click.BadParameter(f"{value!r} is no time that a program can have: write 1ms or more, and less than {LONGEST:.0f} seconds")
    return seconds


def as_terms(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Terms of `exclude`, as Python writes them."""
    terms = []
    for value in values:
        try:
            term = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            term = None
        if not isinstance(term, tuple):
            raise click.BadParameter(f"{value!r} is no Python tuple: write one such as ('send', 'all'), in quotes for your shell")
        try:
            caps.layer([term])
        except (TypeError, ValueError) as error:
            raise click.BadParameter(str(error)) from None
        terms.append(term)
    return terms


def as_endpoints(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int]]:
    """HOST:PORT; an IPv6 address in brackets."""
    ends = []
    for value in values:
        host, _, port = value.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise click.BadParameter(f"{value!r} is no HOST:PORT: write an IPv6 address in brackets, as [::1]:80")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise click.BadParameter(
                f"{value!r} is no HOST:PORT: write a name or an address and a port from 1 to 65535, as example.org:443"
            )
        ends.append((host, int(port)))
    return ends


def _scaled(text: str, units: dict[str, float]) -> float | None:
    """The number before its unit; None if it is none."""
    match = re.fullmatch(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)([A-Za-z]*)", text)
    return float(match[1]) * units[match[2]] if match is not None and match[2] in units else None


@click.group()
def cell() -> None:
    """Cells: untrusted programs behind walls of the kernel's."""


@cell.command()
@as_json_option
@strict_option
def probe(as_json: bool, strict: bool) -> NoReturn:
    """Try the walls of this machine, each in an OS process of its own, and list them.

    The status is 0 if there can be cells, and 1 if a wall is missing that is required, which is named.
    """
    found = [wall._replace(is_required=wall.is_required or strict) for wall in probe_walls()]
    missing = ""
    try:
        demand(found, strict)
    except CellUnavailable as error:
        missing = str(error)
    if as_json:
        walls = [{"name": name, "required": required, "present": present, "detail": detail} for name, required, present, detail in found]
        print(json.dumps({"available": not missing, "walls": walls}))
    else:
        tables.console().print(tables.wall_table(found))
        if missing:
            print(f"beamlike: {missing}", file=sys.stderr)
    sys.exit(FAILED if missing else 0)


@cell.command()
@click.argument("file", type=click.File("rb"))
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1)
@click.option("--memory", metavar="SIZE", callback=as_size, default="64M", show_default=True, help="Bytes that it may take.")
@click.option("--cpu", metavar="DURATION", callback=as_duration, help="CPU time that it may take.  [default: no limit]")
@click.option(
    "--output", metavar="SIZE", callback=as_size, default="1M", show_default=True, help="Bytes that it may write to stdout and stderr."
)
@click.option(
    "--read", "reads", type=click.Path(exists=True, resolve_path=True), multiple=True, help="A file, or a folder with all in it, to read."
)
@click.option("--write", "writes", type=click.Path(resolve_path=True), multiple=True, help="The same, to write.")
@click.option("--net", "ends", metavar="HOST:PORT", callback=as_endpoints, multiple=True, help="Where it may connect to.")
@click.option("--exclude", "terms", metavar="TERM", callback=as_terms, multiple=True, help="What it may not do, as a Python tuple.")
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print how it ended as one JSON object, the last line of stdout.")
def run(
    file: BinaryIO,
    arguments: tuple[str, ...],
    memory: int,
    cpu: float | None,
    output: int,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    ends: list[tuple[str, int]],
    terms: list[tuple[Any, ...]],
    strict: bool,
    as_json: bool,
) -> NoReturn:
    """Run an untrusted Python script in a cell. `-` is a script on stdin, which then reads nothing.

    It reaches no file, no connection and no other program, and imports what is preloaded of Python's library. `--read`, `--write` and
    `--net` open what they name, by names without links: the script gives absolute ones. They may be given several times, as may
    `--exclude`. ARGUMENTS are in its sys.argv; those that begin with a `-` go behind a `--`.

    stdin is read to its end before the script starts, and not at all if it is a terminal. What the script writes is shown as it comes.

    \b
    Exit statuses:
      0          it ended normally
      N          it called sys.exit(N)
      1          an exception, whose traceback it has shown; or what it writes cannot be passed on
      2          the command line is wrong
      124        its CPU time is over
      125        there can be no cell on this machine
      130, 143   Ctrl-C, SIGTERM: the cell is killed
      137        it passed its limit of memory, or was killed
      153        it wrote more than it may
      159        it made a system call that no cell may make
      128 + N    the signal N ended it
    """
    show_logs("critical", as_json=False)
    source = _source(file)
    for path in writes:
        if not Path(path).parent.is_dir():
            raise click.BadParameter(f"there is no folder {Path(path).parent}", param_hint="'--write'")
    opened = [*(("file", path, "r") for path in reads), *(("file", path, "w") for path in writes), *(("net", *end) for end in ends)]
    exclude = [*terms, *([("only", *opened)] if opened else [])]
    relay = Relay()
    limits = Limits(memory=memory, cpu=cpu, output_bytes=output)
    try:
        stdin = b"" if file.name == "<stdin>" else _all_of_stdin(memory)
        options = {"exclude": exclude, "opens": {kind for kind, *_ in opened}, "limits": limits, "strict": strict, "stdin": stdin}
        ended = beamlike.run(partial(relay.run, source, arguments, **options))
        status, text = verdict(ended.reason, limits)
        if as_json:
            shown = {"reason": _plain(ended.reason), "status": status, "cpu": round(ended.cpu, 6), "memory": ended.memory}
            _write_all("stdout", f"{relay.line_end}{json.dumps(shown)}\n")
        elif text:
            _complain(f"{click.format_filename(file.name)} {text}")
    except CellUnavailable as error:
        _complain(str(error))
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)
    except OutputError as error:
        if error.errno == errno.EPIPE:
            sys.exit(BROKEN_PIPE)
        _complain(str(error))
        sys.exit(FAILED)
    sys.exit(status)


def verdict(reason: Any, limits: Limits) -> tuple[int, str]:
    """The exit status, and what there is to say that the script has not said."""
    match reason:
        case "normal" | "shutdown" | ("shutdown", _):
            return 0, ""
        case ("exit", int(status)):
            return status & 0xFF, ""
        case ("limit", "cpu") if limits.cpu is not None:
            return OVER_TIME, f"was ended: it has used its {limits.cpu:g} s of CPU time (--cpu)"
        case ("limit", "memory"):
            return KILLED, f"was ended: it needs more than its {limits.memory} bytes of memory (--memory)"
        case ("limit", "output"):
            return OVER_OUTPUT, f"was ended: it has written more than its {limits.output_bytes} bytes (--output)"
        case ("capability_violation", "os", str(call)) if call.isidentifier():
            return VIOLATION, f"was ended: it made the system call {call}, which no cell may make"
        case ("capability_violation", "os"):
            return VIOLATION, "was ended: it made a system call that no cell may make"
        case ("capability_violation", "mailbox"):
            return VIOLATION, "was ended: it wrote into its mailbox what no cell's runtime writes"
        case ("signal", str(name)) if number := number_of(name):
            return 128 + number, f"was ended by {name}"
        case "killed":
            return KILLED, "was killed"
        case ("cell_lost", str(why)) if why.isprintable():
            return UNAVAILABLE, f"is lost: {why}"
        case ((str(), str()), tuple()):
            return FAILED, ""  # an exception: its traceback was shown
    return FAILED, f"ended with the reason {reason!r}"


def number_of(name: str) -> int:
    """Of a signal, as reasons call it; those of real time are SIG35 and the like. 0: there is none of that name."""
    digits = name.removeprefix("SIG")
    if name != digits and digits.isascii() and digits.isdecimal() and len(digits) == 2 and int(digits) < signal.NSIG:
        return int(digits)
    return signal.Signals[name] if name in signal.Signals.__members__ else 0


def _plain(reason: Any) -> Any:
    """What JSON can say of it: it may be any value that the script chose."""
    try:
        json.dumps(reason, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(reason)
    return reason


def _source(file: BinaryIO) -> str:
    try:
        return decode_source(file.read())
    except (UnicodeDecodeError, SyntaxError) as error:  # of its declared encoding
        raise click.BadParameter(f"{file.name} is no text: {error}", param_hint="'FILE'") from None


def _all_of_stdin(most: int) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    data = bytearray()
    while part := sys.stdin.buffer.read(CHUNK):
        data += part
        if len(data) > most:
            raise click.UsageError(f"stdin has more than the {most} bytes of --memory, and a cell is given all of it at its start")
    return bytes(data)


class Relay:
    """Passes on what a script writes."""

    def __init__(self) -> None:
        self.line_end = ""  # what the last line of stdout lacks

    async def run(self, source: str, arguments: tuple[str, ...], **options: Any) -> CellEnded:
        """How the script ended. Raises: OutputError."""
        await spawn_cell(source, None, *arguments, output=beamlike.self_pid(), **options)
        while True:
            match await beamlike.receive():
                case CellOutput(_, stream, data):
                    if stream == "stdout":
                        self.line_end = "" if data.endswith(b"\n") else "\n"
                    while data := write(stream, data):
                        await beamlike.sleep(LOOK / 1000)  # for Ctrl-C
                case CellEnded() as ended:
                    return ended


class OutputError(Exception):
    """Nothing can be written to stdout or stderr any more, for the reason that `errno` is."""

    def __init__(self, stream: str, error: OSError) -> None:
        super().__init__(f"cannot write to {stream}: {error.strerror}")
        self.errno = error.errno


def write(stream: str, data: bytes) -> bytes:
    """Write until there has been no room for LOOK seconds, and return the rest. Meanwhile nothing is taken from the cell, which waits.

    Past the buffers of `sys.stdout`, which would be written again when we end. Raises: OutputError.
    """
    fd = STREAMS[stream]
    try:
        while data and select.select([], [fd], [], LOOK)[1]:
            with suppress(BlockingIOError):  # who started us may have made it so
                data = data[os.write(fd, data[: select.PIPE_BUF]) :]  # for which there is room
    except OSError as error:
        raise OutputError(stream, error) from error
    return data


def _write_all(stream: str, text: str) -> None:
    data = text.encode(errors="backslashreplace")
    while data := write(stream, data):
        pass


def _complain(text: str) -> None:
    with suppress(OutputError):  # then there is nobody to be told
        _write_all("stderr", f"beamlike: {text}\n")
