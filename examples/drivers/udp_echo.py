"""A UDP echo server: an actor that has the address of a network card, which is QEMU's. Datagrams to port 7 go back to where they came from.

Datagrams that come in fragments, from 1,473 bytes on, are not put together, and not answered.

The card's cable ends in a network inside QEMU, and what is sent to UDP port 5007 of this computer comes in from there:

    python examples/drivers/udp_echo.py --card virtio
    nc -u 127.0.0.1 5007
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any, Final

from beamlike import Pid, receive, run, self_pid, send, spawn_link
from drivers import DeviceError, IoSpace, Qemu
from drivers.servers.finding import find_devices
from drivers.servers.grants import GrantRevokedError
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import open_device
from drivers.services.udp import Udp

CARDS: Final = {"ne2000": "ne2k_isa,iobase=0x300,irq=9", "virtio": "virtio-net-pci,disable-modern=on"}
MAC: Final = bytes.fromhex("525400000002")
PORT: Final = 7  # RFC 862
ADDRESS: Final = "10.0.2.15/24"
CABLE: Final = f"user,id=cable,hostfwd=udp:127.0.0.1:{{port}}-10.0.2.15:{PORT}"


async def switch_on(card: str, cable: str, mac: bytes = MAC, descriptors: Sequence[int] = ()) -> Qemu:
    """A machine with a card, at what QEMU's option `-netdev` says: its ID is `cable`."""
    return await Qemu.start("-netdev", cable, "-device", f"{CARDS[card]},netdev=cable,mac={mac.hex(':')}", descriptors=descriptors)


async def manage(io: IoSpace) -> Pid:
    """A manager of all devices of a machine."""
    return await DeviceManager.start_link(await find_devices(io))


async def echo(manager: Pid, audience: Pid, mac: bytes = MAC, address: str = ADDRESS, port: int = PORT) -> None:
    """The server. The audience is told `"ready"`, and of each datagram, once it was sent back, who has sent it and how long it is.

    It has all of the card's address, so it answers `ping`, too. A datagram that cannot be sent back is lost, as on the way.
    """
    async with await open_device(manager, "eth0", address=mac) as card:
        endpoint = await Udp.open(card, mac, address, port)
        send(audience, "ready")
        while True:
            data, peer = await endpoint.receive()
            if peer[1] == port:
                continue  # two echo servers would have no end
            try:
                await endpoint.send(data, peer, timeout=1)
            except GrantRevokedError:
                raise
            except (DeviceError, TimeoutError):
                continue
            send(audience, (peer, len(data)))


async def main(card: str, port: int) -> None:
    """Echo, and say so, until Ctrl-C."""
    with closing(await switch_on(card, CABLE.format(port=port))) as machine:
        spawn_link(echo, await manage(machine), self_pid())
        while True:
            match await receive():
                case "ready":
                    print(f"port {PORT} of {ADDRESS} is UDP port {port} of 127.0.0.1", flush=True)
                case ((host, number), size):
                    print(f"{size} bytes from {host}, port {number}", flush=True)


def options() -> Any:
    """Of the command line."""
    parser = argparse.ArgumentParser(description="A UDP echo server on a machine of QEMU's.")
    parser.add_argument("--card", choices=CARDS, default="virtio")
    parser.add_argument("--port", type=int, default=5007, help="of 127.0.0.1")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = options()
    with suppress(KeyboardInterrupt):
        try:
            run(main, chosen.card, chosen.port)
        except (DeviceError, OSError) as error:
            sys.exit(str(error))
