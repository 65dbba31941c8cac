"""UDP with real peers, through QEMU's cards: a second machine of QEMU's, Linux's network stack, and a socket of this computer.

Nothing of this leaves the computer: the cables are sockets in a folder, a device in a network namespace, and QEMU's own network.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from machines import needs_qemu
from network import cable

from beamlike import Pid, receive, run, self_pid, send, spawn_link
from drivers import Qemu
from drivers.servers.opening import open_device
from drivers.services.udp import LARGEST

ROOT = Path(__file__).parents[2]
SERVER, CLIENT = bytes.fromhex("525400000002"), bytes.fromhex("525400000001")
OURS, THEIRS = "10.9.0.2", "10.9.0.1"
pytestmark = needs_qemu


def load() -> ModuleType:
    """The example."""
    spec = importlib.util.spec_from_file_location("udp_echo", ROOT / "examples" / "drivers" / "udp_echo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


udp_echo: Any = load()


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


COUNT = 300  # datagrams between two machines


def sizes(count: int) -> list[int]:
    """From nothing to the largest datagram."""
    return [number * LARGEST // (count - 1) for number in range(count)]


def sockets(folder: Path, ours: str, theirs: str) -> str:
    return cable(folder / ours, folder / theirs).replace("id=n", "id=cable")


async def ask(boss: Pid, manager: Pid, mac: bytes, address: str, peer: tuple[str, int], count: int) -> None:
    """A client: datagrams of all sizes go to the peer, and must come back as they are. The boss is told how many."""
    async with await open_device(manager, "eth0", address=mac, udp_port=3000) as card:
        endpoint = await udp_echo.Udp.open(card, mac, address, 3000)
        for number, size in enumerate(sizes(count)):
            data = bytes((number + i) % 251 for i in range(size))
            await endpoint.send(data, peer)
            assert await endpoint.receive(10) == (data, peer), number
        send(boss, ("all", count))


@pytest.mark.parametrize(("server", "client"), [("ne2000", "virtio"), ("virtio", "ne2000"), ("virtio", "virtio")])
def test_two_machines_of_one_node(server: str, client: str, tmp_path: Path) -> None:
    async def check(ours: Qemu, theirs: Qemu) -> None:
        spawn_link(udp_echo.echo, await udp_echo.manage(ours), self_pid(), SERVER, f"{OURS}/24")
        assert await receive(timeout=10) == "ready"
        spawn_link(ask, self_pid(), await udp_echo.manage(theirs), CLIENT, f"{THEIRS}/24", (OURS, 7), COUNT)
        for size in sizes(COUNT):
            assert await receive((tuple, int), timeout=20) == ((THEIRS, 3000), size)
        assert await receive(("all", int), timeout=20) == ("all", COUNT)

    async def main() -> None:
        with (
            closing(await udp_echo.switch_on(server, sockets(tmp_path, "server", "client"), SERVER)) as ours,
            closing(await udp_echo.switch_on(client, sockets(tmp_path, "client", "server"), CLIENT)) as theirs,
        ):
            await check(ours, theirs)

    run(main)


class Kernel:
    """Linux's network stack in a namespace, and the tap device that is in there."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        script = Path(__file__).parent / "kernel_peer.py"
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "--net", sys.executable, str(script)]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE)
        self._channel.settimeout(20)
        _, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        if not descriptors:
            said = self._process.communicate()[1].decode().strip().splitlines()
            self._channel.close()
            pytest.skip(f"no network namespace with a tap device: {said[-1] if said else 'no reason given'}")
        (self.tap,) = descriptors
        self._channel.setblocking(False)

    async def ask(self, io: Qemu, *command: Any) -> Any:
        """Have it do something, while everybody goes on."""
        self._channel.send(json.dumps(command).encode() + b"\n")
        answer = b""

        def is_whole() -> bool:
            nonlocal answer
            try:
                answer += self._channel.recv(65536)
            except BlockingIOError:
                return False
            return answer.endswith(b"\n")

        await io.until(is_whole, 60, f"{command[0]} in the namespace")
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._channel.close()
        os.close(self.tap)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    if os.geteuid():
        pytest.skip("a network namespace and a tap device need root")
    made = Kernel()
    yield made
    made.close()


@pytest.mark.parametrize("card", ["ne2000", "virtio"])
def test_linux_gets_its_datagrams_back_and_its_pings_answered(card: str, kernel: Kernel) -> None:
    async def main() -> None:
        cable = f"tap,id=cable,fd={kernel.tap}"
        with closing(await udp_echo.switch_on(card, cable, SERVER, descriptors=[kernel.tap])) as machine:
            spawn_link(udp_echo.echo, await udp_echo.manage(machine), self_pid(), SERVER, f"{OURS}/24")
            assert await receive(timeout=10) == "ready"
            assert await kernel.ask(machine, "ping", OURS, [0, 56, 1472]) == [0, 56, 1472]
            assert f"{OURS} dev tap0 lladdr {SERVER.hex(':')}" in await kernel.ask(machine, "neighbours")
            assert await kernel.ask(machine, "echo", OURS, 7, sizes(500)) == sizes(500)
            assert await kernel.ask(machine, "ping", OURS, sizes(20)) == sizes(20)

    run(main)


@pytest.mark.parametrize("card", ["ne2000", "virtio"])
def test_linux_is_found_and_echoes(card: str, kernel: Kernel) -> None:
    async def main() -> None:
        cable = f"tap,id=cable,fd={kernel.tap}"
        with closing(await udp_echo.switch_on(card, cable, CLIENT, descriptors=[kernel.tap])) as machine:
            port = await kernel.ask(machine, "serve")
            manager = await udp_echo.manage(machine)
            spawn_link(ask, self_pid(), manager, CLIENT, f"{OURS}/24", (THEIRS, port), 300)
            assert await receive(timeout=60) == ("all", 300)

    run(main)


@pytest.mark.parametrize("card", ["ne2000", "virtio"])
def test_the_example_echoes_what_is_sent_to_a_port_of_this_computer(card: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "examples" / "drivers" / "udp_echo.py"), "--card", card, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"port 7 of 10.0.2.15/24 is UDP port {port} of 127.0.0.1\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(("127.0.0.1", port))
            for size in (1, 100, LARGEST):
                client.send(bytes(size))
                assert client.recv(4096) == bytes(size)
                assert process.stdout.readline().startswith(f"{size} bytes from 10.0.2.2, port ")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
