"""What tests of networks share: machines with a card and what is outside of it, of this process or of the kernel's."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from machines import Play

from drivers.models.ne2000 import MAC, Ne2000Model
from drivers.models.virtio_net import VirtioNetModel
from drivers.servers.device import Device
from drivers.servers.finding import find_devices, find_ne2000
from drivers.servers.finding_virtio import find_virtio

CARDS = {"ne2000": "ne2k_isa,iobase=0x300,irq=9", "virtio": "virtio-net-pci,disable-modern=on"}
FINDERS = {"ne2000": find_ne2000, "virtio": find_virtio}
MODELS: dict[str, list[Any]] = {"ne2000": [Ne2000Model], "virtio": [("pci",), VirtioNetModel]}


def card_options(card: str, netdev: str, mac: bytes = MAC) -> list[str]:
    """What QEMU is told. `netdev` has the ID `n`."""
    return ["-netdev", netdev, "-device", f"{CARDS[card]},netdev=n,mac={mac.hex(':')}"]


def cable(ours: Path, theirs: Path) -> str:
    """A socket, of which each datagram is a frame."""
    return f"dgram,id=n,local.type=unix,local.path={ours},remote.type=unix,remote.path={theirs}"


async def device_of(io: Any, card: str) -> Device:
    """The card that the machine has."""
    (device,) = await find_devices(io, (FINDERS[card],))
    return device


class Outside:
    """The far end of a card's cable: frames go in by `feed`, and come out by `taken`."""

    def __init__(self, play: Play, folder: Path, card: str) -> None:
        self.play = play
        self.card = card
        self.ours, self.theirs = folder / "ours", folder / "qemu"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.ours))
        self.socket.setblocking(False)
        self.io: Any = None

    def __call__(self, check: Callable[[Any, Device], Awaitable[None]]) -> None:
        async def with_card(io: Any) -> None:
            self.io = io
            await check(io, await device_of(io, self.card))

        self.play(with_card, MODELS[self.card], qemu=card_options(self.card, cable(self.theirs, self.ours)))

    def feed(self, frame: bytes) -> None:
        """Let a frame arrive, padded."""
        frame = frame.ljust(60, b"\0")
        if self.io.name == "portbus":
            assert self.io.models[self._model(self.card)].feed(frame)
        else:
            self.socket.sendto(frame, str(self.theirs))

    def taken(self) -> bytes | None:
        """The next frame that the card has sent, if there is one."""
        if self.io.name == "portbus":
            found: bytes | None = self.io.models[self._model(self.card)].taken()
            return found
        try:
            return self.socket.recv(4096)
        except BlockingIOError:
            return None

    @staticmethod
    def _model(card: str) -> Any:
        return MODELS[card][-1]
