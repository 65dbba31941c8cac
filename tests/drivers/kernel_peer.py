"""Runs in a network namespace of its own (`unshare --net`): a tap device, and programs that use Linux's network stack over it.

Its standard input is a socket. First the tap device's descriptor goes out there; then come commands, a line of JSON each, and answers go
out. The namespace ends with this OS process and the device's last descriptor: there is nothing to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Final

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
ADDRESS: Final = "10.9.0.1"
ECHO, ECHO_REPLY = 8, 0
TIMEOUT: Final = 10.0
SERVED: Final = 7777


def tap() -> int:
    """The descriptor of the device, which has an address and is up."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI))
    for words in (f"addr add {ADDRESS}/24 dev tap0", "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    return descriptor


def echo(host: str, port: int, sizes: list[int]) -> list[int]:
    """Send datagrams of these sizes, and take what comes back. The sizes of those that came back right."""
    right = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.connect((host, port))
        for number, size in enumerate(sizes):
            data = bytes((number + i) % 251 for i in range(size))
            client.send(data)
            if client.recv(4096) == data:
                right.append(size)
    return right


def ping(host: str, sizes: list[int]) -> list[int]:
    """As `ping -s SIZE`. The sizes that were answered right."""
    right = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        client.settimeout(TIMEOUT)
        client.connect((host, 0))
        for number, size in enumerate(sizes):
            rest = struct.pack(">HH", 4711, number) + bytes(size)
            total = (ECHO << 8) + 4711 + number  # the words, of which the others are 0
            client.send(struct.pack(">BBH", ECHO, 0, 0xFFFF - total % 0xFFFF) + rest)
            packet = client.recv(4096)
            if packet[20:22] == bytes([ECHO_REPLY, 0]) and packet[24:] == rest:
                right.append(size)
    return right


def serve() -> int:
    """Echo from now on, in a thread. The port."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, SERVED))

    def work() -> None:
        while True:
            data, peer = server.recvfrom(4096)
            server.sendto(data, peer)

    threading.Thread(target=work, daemon=True).start()
    return SERVED


def neighbours() -> Any:
    """What the kernel knows of stations."""
    return subprocess.run(["ip", "neigh"], check=True, capture_output=True, text=True).stdout


COMMANDS: Final[dict[str, Callable[..., Any]]] = {"echo": echo, "ping": ping, "serve": serve, "neighbours": neighbours}


def main() -> None:
    """Until the other end of the socket is closed."""
    channel = socket.socket(fileno=0)
    descriptor = tap()
    socket.send_fds(channel, [b"tap"], [descriptor])
    os.close(descriptor)
    for line in channel.makefile("rb"):
        name, *args = json.loads(line)
        try:
            answer = COMMANDS[name](*args)
        except OSError as error:
            answer = repr(error)
        channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
