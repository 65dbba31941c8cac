"""`beamlike boot`: the guest code loads an image, nodes start from what it has loaded, and the system comes up."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.text import Text

import beamlike
import nodes
from beamlike import application
from boot.attach import System, looks_into_system
from boot.bundle.archive import Bundle, read_bundle
from boot.bundle.sealed import sealed
from boot.engines.disk import Death, FaultPlan, Moment
from boot.engines.events import Event
from boot.engines.machine import BootMachine, BootResult
from boot.engines.qemu import Device
from boot.errors import BootError, NoSlaveCoreError
from boot.first_boot import read_done
from boot.guest.layout import Kind
from boot.logs import LEVELS
from boot.timeline import as_json as event_as_json
from boot.timeline import chunks_moved, timeline
from nodes import AttachError
from nodes.seam import named

FAILED = 1
ENGINES = {
    "unicorn": "boot.engines.processes:ProcessMachine",
    "threads": "boot.engines.threads:ThreadMachine",
    "lockstep": "boot.engines.lockstep:LockstepMachine",
    "qemu": "boot.engines.qemu:QemuMachine",
}
"""Imported when it is wanted, for two of them import Unicorn."""
DEVICES = [device.name.lower() for device in Device]
SHELL_PROGRAM = "import sys; sys.path.insert(0, {root!r}); from boot.cli import main; main(prog_name='beamlike')"
ROOT = str(Path(__file__).parents[1])
STYLES = {"warning": "yellow", "error": "red", "critical": "bold red"}


@click.command("boot")
@click.argument("path", metavar="IMAGE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--engine", type=click.Choice(list(ENGINES)), default="unicorn", show_default=True, help="The machine; unicorn: an OS process a core."
)
@click.option("--device", type=click.Choice(DEVICES), help="With --engine qemu: what the image is behind.  [default: ahci]")
@click.option(
    "--cores", type=click.IntRange(1, 32), default=2, show_default=True, help="Of that machine: one loads, the others read for it."
)
@click.option(
    "--kill-slave-at", "killed_at", type=click.IntRange(1), metavar="N", help="Kill the core that reads, in the midst of its N-th read."
)
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds for the machine to load the image.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where is noted what was done at the first boot.  [default: IMAGE.store]",
)
@click.option("--trace", "shows_trace", is_flag=True, help="Show what each core did, as a timeline.")
@click.option("--load-only", is_flag=True, help="End when it is loaded: start no nodes.")
@click.option("--console/--no-console", "has_console", default=None, help="A Python prompt in the system.  [default: on a terminal]")
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="Of the nodes: show what is at least as bad."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for machines.")
def boot(
    path: Path,
    engine: str,
    device: str | None,
    cores: int,
    killed_at: int | None,
    timeout: float,
    store: Path | None,
    shows_trace: bool,
    load_only: bool,
    has_console: bool | None,
    log_level: str,
    as_json: bool,
) -> NoReturn:
    """Boot an image: its code loads the bundle on an emulated machine, nodes start from that memory, and the system comes up.

    It runs until a process of it calls `halt`, whose status is that of the command, the console is left by Ctrl-D, or Ctrl-C.
    """
    began = time.monotonic()
    show = Show(began, as_json)
    machine = _machine(engine, device, cores, killed_at, timeout)
    if has_console is None:
        has_console = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    try:
        bundle, master = _load(machine, engine, path, show, shows_trace, killed_at)
    except BootError as error:
        show.failed(error, cores, shows_trace)
        sys.exit(FAILED)
    except (OSError, beamlike.ExitError) as error:
        show.line("error", f"{path}: {getattr(error, 'strerror', None) or error}", "error")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)
    if load_only:
        sys.exit(0)
    store = store or path.with_name(f"{path.name}.store")
    has_steps = any(goal.only_first_boot for goal in bundle.plan.goals)
    try:
        if has_steps:
            read_done(store)  # before there are nodes
    except OSError as error:
        show.line("error", f"the store {store} cannot be used: {error.strerror or error}: choose another by --store", "error")
        sys.exit(FAILED)
    try:
        sys.exit(Running(bundle, master, show, has_console, (log_level, as_json)).run(began, str(store) if has_steps else None))
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)


def _machine(engine: str, device: str | None, cores: int, killed_at: int | None, timeout: float) -> BootMachine:
    if device is not None and engine != "qemu":
        raise click.UsageError(f"--device is of --engine qemu, not of {engine}")
    options: dict[str, Any] = {"timeout": timeout}
    if killed_at is not None:
        if engine == "qemu":
            raise click.UsageError("--kill-slave-at is of the engines with Unicorn: a core of QEMU's cannot be killed alone")
        options["faults"] = FaultPlan(deaths=(Death(1, killed_at, Moment.INSIDE),))
    if device is not None:
        options["device"] = Device[device.upper()]
    machine: BootMachine = named(ENGINES[engine])(cores, **options)
    return machine


def _load(machine: BootMachine, engine: str, path: Path, show: Show, shows_trace: bool, killed_at: int | None) -> tuple[Bundle, int]:
    """What the machine has loaded: what is in it, and a sealed copy. Raises: BootError; OSError."""
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    show.line("begin", f"{path}: {path.stat().st_size:,} bytes, on {engine} with {cores}")

    async def main() -> BootResult:
        return await machine.boot(path, show.progress)

    with beamlike.run(main) as result:
        show.clear()
        if shows_trace:
            show.trace(result.events)
        info = result.info
        cures = (
            (info.failovers, "fail-over"),
            (info.retries, "read tried again"),
            (info.rereads, "chunk read again"),
            (info.copy, "bad manifest"),
        )
        cured = [f"{count} × {text}" for count, text in cures if count]
        text = (
            f"BOOT OK: {info.payload_bytes:,} bytes at {info.load_address:#x}, checksum {info.payload_crc:08x}, in {result.seconds:.2f} s"
        )
        show.line("loaded", "; ".join([text, *cured]), "warning" if cured else "info", seconds=result.seconds, info=vars(info))
        if killed_at is not None and not any(event.kind is Kind.KILLED for event in result.events):
            show.line("kill", f"nobody was killed: core 1 came to no read {killed_at}", "warning")
        with memoryview(result.memory.map) as view, view[info.load_address : info.load_address + info.payload_bytes] as payload:
            master = sealed(payload, "beamlike-booted")
    try:
        return read_bundle(f"/proc/self/fd/{master}"), master
    except BaseException:
        os.close(master)
        raise


def halt_system(system: System, status: int) -> None:
    """End a system that was booted. Returns when it is told. Raises: AttachError."""
    from boot.bundle.system import NAME

    if not system.ask("ask", NAME, ("halt", status), None, within=None):
        raise AttachError(f"the system {system.owner} was not booted from an image, or is being started again")


@click.command()
@click.argument("status", type=click.IntRange(0, 255), default=0)
@looks_into_system
def halt(system: System, status: int) -> None:
    """End a system that `beamlike boot` has booted, in order; STATUS is what that command ends with. Returns when it has ended."""
    halt_system(system, status)
    wait_for_end(system.owner)


def wait_for_end(owner: int) -> None:
    """Until this OS process has ended."""
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


class Show:
    """What is told: lines with the seconds since the begin, on stderr; stdout is the program's."""

    def __init__(self, began: float, as_json: bool) -> None:
        self._began = began
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
        self._has_bar = False

    def line(self, kind: str, text: str, level: str = "info", at: float | None = None, **more: Any) -> None:
        """A line."""
        seconds = (time.monotonic() if at is None else at) - self._began
        if self._as_json:
            _write_json({"seconds": round(seconds, 6), "kind": kind, "level": level, "text": text, **more})
            return
        self.clear()
        self._console.print(Text.assemble((f"[{seconds:9.3f}] ", "dim"), (text, STYLES.get(level, ""))), soft_wrap=True)

    def progress(self, events: tuple[Event, ...]) -> None:
        """How much is loaded, on a terminal."""
        if self._as_json or not self._console.is_terminal or not events:
            return
        self._has_bar = True
        kilobytes = chunks_moved(events) * 32
        print(f"\r\x1b[K[{time.monotonic() - self._began:9.3f}] loading: {kilobytes:,} KiB", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove that again."""
        if self._has_bar:
            self._has_bar = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def trace(self, events: tuple[Event, ...]) -> None:
        """The timeline."""
        for event in events if self._as_json else ():
            _write_json({"kind": "event", "event": event_as_json(event)})
        for line in () if self._as_json else timeline(events):
            self._console.print(line, soft_wrap=True)

    def failed(self, error: BootError, cores: int, shows_trace: bool) -> None:
        """It has not booted, with so many cores."""
        self.clear()
        if shows_trace:
            self.trace(error.events)
        hint = ""
        if isinstance(error, NoSlaveCoreError):
            hint = f": with --cores {cores + 1} there is one more that reads"
        more: dict[str, Any] = {"lba": error.lba, "core": error.core, "serial": error.serial, "error": type(error).__name__}
        where = [f"{name} {value}" for name, value in (("LBA", error.lba), ("core", error.core)) if value is not None]
        self.line("failed", f"{error}{hint}" + (f" ({', '.join(where)})" if where else ""), "error", **more)
        if not self._as_json and error.serial.strip():
            for said in error.serial.strip().splitlines():
                self._console.print(Text(f"    COM1: {said}", "dim"), soft_wrap=True)


def _write_json(told: dict[str, Any]) -> None:
    """In one piece: threads, and nodes, write there too."""
    sys.stderr.write(json.dumps(told) + "\n")
    sys.stderr.flush()


class Running:
    """The system, while it runs: this OS process is its owner, and shows what it tells."""

    def __init__(self, bundle: Bundle, master: int, show: Show, has_console: bool, logs: tuple[str, bool]) -> None:
        self._plan = bundle.plan
        self._master = master
        self._show = show
        self._has_console = has_console
        self._logs = logs
        self._shell: subprocess.Popen[bytes] | None = None
        self._terminal: list[Any] | None = None  # as it was before the shell
        self._lock = threading.Lock()  # a shell begins
        self._is_up_again = False  # the system, since it began
        self._is_over = False  # none begins any more
        self._is_interrupted = False
        self._halted: int | None = None  # with this status
        self._was_lost = False  # main, after that

    def run(self, began: float, store: str | None) -> int:
        """Until it ends; the exit status."""
        ours, theirs = os.pipe()
        reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        cores = sorted(os.sched_getaffinity(0))
        places = {
            name: cores[number % len(cores)] if node.core is None else node.core
            for number, (name, node) in enumerate(zip(self._plan.full_names(), self._plan.nodes, strict=True))
        }
        with ExitStack() as undo:
            undo.callback(os.close, self._master)
            undo.callback(self._end_shell)
            reader.start()
            undo.callback(reader.join, 1.0)
            undo.callback(os.close, theirs)
            signal.signal(signal.SIGINT, self._on_interrupt)
            self._show.line("nodes", f"starting {', '.join(f'{name} on core {core}' for name, core in places.items())}")
            return self._run(began, store, places, theirs)

    def _run(self, began: float, store: str | None, places: dict[str, int], report: int) -> int:
        from boot.bundle.system import serve

        try:
            return nodes.run(
                serve,
                began,
                store,
                nodes=places,
                on_main_lost="restart",
                setup=("boot.bundle.mounted:mount", self._logs),
                descriptors=(self._master, report),
            )
        except (beamlike.ExitError, nodes.NodeLost, nodes.StartError) as error:
            self._show.line("failed", f"{error}{''.join(getattr(error, '__notes__', ()))}", "error")
            return FAILED
        except SystemExit as ending:  # SIGTERM, ours or another one's
            if self._was_lost and self._halted is not None:
                return self._halted
            return application.INTERRUPTED if self._is_interrupted else int(ending.code or 0)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left but to put the terminal in order

    def _on_interrupt(self, *_: Any) -> None:
        if self._shell is not None and self._shell.returncode is None:
            return  # it is for what is evaluated there
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            raise KeyboardInterrupt  # no nodes run yet, or any more
        self._is_interrupted = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _read(self, descriptor: int) -> None:
        """What the nodes report, in a thread, until all have ended."""
        with open(descriptor) as lines:
            for line in lines:
                told = json.loads(line)
                if told["kind"] == "main":
                    self._on_main()
                    continue
                if told["kind"] == "halt":
                    self._halted = told["status"]
                self._show.line(told["kind"], told["text"], told["level"], at=told["at"])
                if told["kind"] == "up" and self._has_console:
                    self._is_up_again = True
                    self._begin_shell()

    def _on_main(self) -> None:
        """It begins: again, if that of before was lost with its node; but not while it was halting."""
        if self._halted is not None and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            self._was_lost = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _begin_shell(self) -> None:
        command = [sys.executable, "-P", "-c", SHELL_PROGRAM.format(root=ROOT), "shell", "--system", str(os.getpid())]
        with self._lock:
            if self._is_over or not self._is_up_again or (self._shell is not None and self._shell.returncode is None):
                return
            self._is_up_again = False
            if self._shell is None:
                self._terminal = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
            self._restore_terminal()
            self._shell = subprocess.Popen(command)
        threading.Thread(target=self._wait_for_shell, args=(self._shell,), daemon=True).start()

    def _wait_for_shell(self, shell: subprocess.Popen[bytes]) -> None:
        """Who leaves it ends the system; not who loses it, as with its node: another begins when the system is up again, or was since."""
        status = shell.wait()
        if status and self._terminal is not None and self._halted is None:
            self._show.line("console", "the console is lost; Ctrl-C ends the system", "warning")
            self._begin_shell()
            return
        with suppress(AttachError):  # it has ended
            halt_system(System(os.getpid()), status if status >= 0 else FAILED)

    def _restore_terminal(self) -> None:
        if self._terminal is not None:
            with suppress(termios.error):  # it is gone
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)

    def _end_shell(self) -> None:
        with self._lock:
            self._is_over = True
        if self._shell is not None:
            with suppress(ProcessLookupError):
                self._shell.terminate()
            self._shell.wait()
            self._restore_terminal()
