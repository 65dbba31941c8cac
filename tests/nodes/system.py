"""One system of real nodes for many checks: async functions of modules beside this one, each run as a process of a node.

A *driver* on every node is connected to the test's interpreter and runs what it is asked. A check costs milliseconds; nodes that it killed
come back, and the next check waits until all are up, whichever they are: the node of main is started again, too. What a check leaves
running is killed after it. A check that hangs fails with what everybody waits for.

This module is imported in nodes: nothing slow is imported here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NODES = 3
HANG_TIMEOUT = 3.0  # seconds after which a node that does not move is killed
PATIENCE = 30.0  # seconds after which a check hangs
DEAF = 10.0  # seconds that a driver has beyond that to say what everybody waits for
LONGEST = 1 << 20  # bytes of an answer


class CheckError(Exception):
    """A check failed, hung, or lost its node."""


class System:
    """The face of it for tests."""

    def __init__(self, folder: Path, nodes: int = NODES) -> None:
        self.nodes = nodes
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "drivers"))
        self.listener.listen(64)
        self.drivers: dict[int, socket.socket] = {}  # by the number of the node
        root = HERE.parents[1]
        program = (
            f"import sys; sys.path[:0] = [{str(root)!r}, {str(HERE)!r}]; import system; system.start({str(folder / 'drivers')!r}, {nodes})"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(HERE)])}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-c", program], env=environment, stdin=subprocess.DEVNULL
        )

    def run(self, module: str, check: str, *args: Any, at: int = 1) -> Any:
        """Run `check(*args)` of a module on a node; what it returned, as JSON has it. CheckError with the traceback if it raised."""
        self._settle()
        return self._ask(at, {"module": module, "check": check, "args": args}, PATIENCE + DEAF)

    def close(self) -> None:
        """End it all."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for each in (self.listener, *self.drivers.values()):
            each.close()

    def _settle(self) -> None:
        """Wait until each node has a driver that sees all nodes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._accept(0.0 if len(self.drivers) == self.nodes else 0.1)
            if len(self.drivers) < self.nodes:
                continue
            try:
                for number in list(self.drivers):
                    self._ask(number, {"module": "system", "check": "all_up", "args": [self.nodes]}, PATIENCE)
            except ConnectionError:
                continue
            return
        raise CheckError(f"only the drivers of {sorted(self.drivers)} of {self.nodes} nodes are there after {PATIENCE} s")

    def _accept(self, timeout: float) -> None:
        while select.select([self.listener], [], [], timeout)[0]:
            connection, _ = self.listener.accept()
            connection.settimeout(PATIENCE)
            number = int(connection.recv(16) or 0)
            if number in self.drivers:
                self.drivers[number].close()
            self.drivers[number] = connection
            timeout = 0.0
        if self.process.poll() is not None:
            raise CheckError(f"the system has ended with status {self.process.returncode}: see its output")

    def _ask(self, number: int, request: dict[str, Any], patience: float) -> Any:
        driver = self.drivers[number]
        driver.settimeout(patience)
        try:
            driver.send(json.dumps(request).encode())
            answer = driver.recv(LONGEST)
            if not answer:
                raise ConnectionResetError
        except TimeoutError:
            raise CheckError(f"{request['check']}: the driver of node {number} is silent") from None
        except OSError as error:
            del self.drivers[number]
            driver.close()
            raise LostNodeError(f"{request['check']}: the node {number}, where it ran, was lost") from error
        outcome = json.loads(answer)
        if "failed" in outcome:
            raise CheckError(outcome["failed"])
        return outcome["returned"]


class LostNodeError(CheckError, ConnectionError):
    """The node of a driver has ended."""


def checks_of(module: str, prefix: str = "check_") -> list[str]:
    """The names of the checks of a module, in order."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return [name for name in vars(import_module(module)) if name.startswith(prefix)]


# --- in the system --------------------------------------------------------------------------------------------------------


def start(path: str, nodes: int) -> None:
    """The program that the test's interpreter starts."""
    from nodes import run

    run(main, path, nodes=nodes, on_main_lost="restart", hang_timeout=HANG_TIMEOUT)


async def main(path: str) -> None:
    """Keeps a driver on every node."""
    from beamlike import BadNameError, receive, self_pid, spawn, spawn_at
    from nodes import NodeUp, SpawnError, list_nodes, monitor_node

    monitored: set[str] = set()
    spawn(drive, path, name="driver")
    machine = self_pid().node.partition("@")[2]
    for number in range(2, NODES + 7):
        monitor_node(f"n{number}@{machine}")
    while True:
        for name in list_nodes():
            if name not in monitored and name != self_pid().node:
                try:
                    await spawn_at(name, drive, path, name="driver")
                except SpawnError:
                    continue
                except BadNameError:  # it is there
                    pass
                monitored.add(name)
        match await receive():
            case NodeUp(name):
                monitored.discard(name)


async def drive(path: str) -> None:
    """The driver of a node: runs one check after the other."""
    import trio

    from beamlike import io, self_pid

    async with io():
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            await link.connect(path)
            await link.send(self_pid().node.partition("@")[0][1:].encode())
            while request := await link.recv(LONGEST):
                outcome = await _outcome(**json.loads(request))
                await link.send(json.dumps(outcome).encode()[:LONGEST])


async def _outcome(module: str, check: str, args: list[Any]) -> dict[str, Any]:
    from beamlike import receive, self_pid, spawn_monitor

    is_ours = check == "all_up"
    _, ref = spawn_monitor(_run, self_pid(), module, check, args)
    returned: Any = None
    try:
        while True:
            match await receive(timeout=PATIENCE / 2 if is_ours else PATIENCE):
                case ("returned", returned):
                    continue
                case message if getattr(message, "ref", None) == ref:
                    break
    except TimeoutError:
        outcome: dict[str, Any] = {"failed": f"{check} hangs. What is waited for:\n{await everybody()}"}
    else:
        outcome = {"returned": returned} if message.reason == "normal" else {"failed": f"{check}: {explained(message.reason)}"}
    if not is_ours:
        await kill_what_is_left()
    return outcome


async def _run(driver: Any, module: str, check: str, args: list[Any]) -> None:
    from beamlike import send

    send(driver, ("returned", await getattr(import_module(module), check)(*args)))


def explained(reason: Any) -> str:
    """What a check ended with, and where."""
    match reason:
        case ((str(kind), str(text)), stack):
            return f"{kind}: {text}" + "".join(f'\n  File "{file}", line {line}, in {function}' for file, line, function in stack)
    return repr(reason)


async def all_up(count: int) -> None:
    """Wait until this node sees so many."""
    from beamlike import receive, self_pid
    from nodes import list_nodes, monitor_node

    machine = self_pid().node.partition("@")[2]
    for number in range(1, count + 1):
        monitor_node(f"n{number}@{machine}")
    while len(list_nodes()) < count:
        await receive()


async def everybody() -> str:
    """What every process of every node waits for."""
    from beamlike import receive, self_pid, spawn, spawn_at
    from nodes import list_nodes

    lines = []
    for name in list_nodes():
        child = await spawn_at(name, tell_all, self_pid()) if name != self_pid().node else spawn(tell_all, self_pid())
        try:
            lines += (await receive(lambda message, child=child: message[0] == child if type(message) is tuple else False, 2.0))[1]
        except TimeoutError:
            lines.append(f"{name} says nothing")
    return "\n".join(lines)


async def tell_all(who: Any) -> None:
    """What every process of this node waits for."""
    from beamlike import process_info, processes, self_pid, send

    lines = []
    for info in filter(None, map(process_info, processes())):
        waits = f"{info.status} in {info.current_function}:{info.current_line}, {info.mailbox_length} messages wait"
        lines.append(
            f"  {info.pid} {info.registered_name or ''} {info.initial_call}: {waits}, links {info.links}, monitors {info.monitors}"
        )
    send(who, (self_pid(), lines))


async def kill_what_is_left() -> None:
    """On every node, all that descend from this driver."""
    from beamlike import self_pid, spawn_at
    from nodes import SpawnError, list_nodes

    for name in list_nodes():
        with suppress(SpawnError):
            await spawn_at(name, kill_descendants, self_pid())


async def kill_descendants(driver: Any) -> None:
    """Kill what this driver's checks have started, but for this."""
    from beamlike import exit, process_info, processes, self_pid

    for info in filter(None, map(process_info, processes())):
        if info.pid != self_pid() and driver in info.ancestors:
            exit(info.pid, "kill")
