"""Bodies of nodes for test_owner.py. They are imported in nodes, so nothing slow is imported here."""

from __future__ import annotations

import mmap
import os
import random
import select
import signal
import socket
import subprocess
import sys

from nodes.control import Channel, ChannelClosed, close_all
from nodes.member import PAGE, Member, send_all

ORPHAN = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdin=0, stdout=2).pid)"  # a parent that ends at once


def puppet(member: Member) -> None:
    """Tells the test what it hears from the owner, and does what the test tells it. It ends at `stop`, unless told to be stubborn."""
    link = Channel(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    link._socket.connect(member.settings["stage"])
    is_stubborn = False
    page: mmap.mmap  # which the first packet brings
    introduce(member, link)
    poll = select.poll()
    poll.register(link, select.POLLIN)
    poll.register(member.channel, select.POLLIN)
    while True:
        poll.poll()
        try:
            heard = member.channel.receive()
        except ChannelClosed:
            os._exit(9)
        if heard is not None:
            items, fds = heard
            if items[:3] == ("up", member.name, member.incarnation):
                page = mmap.mmap(fds[1], PAGE)
            link.send("heard", *items, fds=fds)
            send_all(link)
            close_all(fds)
            if items == ("stop",) and not is_stubborn:
                return
        try:
            told = link.receive()
        except ChannelClosed:
            os._exit(8)
        match told:
            case None:
                continue
            case (("say", kind, *rest), fds):
                member.channel.send(kind, *rest, fds=fds)
                send_all(member.channel)
                close_all(fds)
            case (("flood", times, kind, *rest), _):
                for _ in range(times):
                    member.channel.send(kind, *rest)
                send_all(member.channel)
            case (("exit", status), _):
                os._exit(status)
            case (("result and exit", status), _):
                member.channel.send("result", b"the last word")
                os._exit(status)
            case (("raise", text), _):
                raise RuntimeError(text)
            case (("be stubborn",), _):
                is_stubborn = True
            case (("spawn",), _):
                child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
                link.send("spawned", child.pid)
            case (("orphan", *command), _):
                parent = subprocess.Popen([sys.executable, "-S", "-c", ORPHAN, *command], stdout=subprocess.PIPE)
                assert parent.stdout is not None
                link.send("orphaned", int(parent.stdout.readline()))
                parent.wait()
            case (("beat", number), _):
                page[0] = number
                link.send("beaten")
            case (("garbage",), _):
                member.channel._socket.send(b"\xc1")


def introduce(member: Member, link: Channel) -> None:
    facts = {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "pgid": os.getpgid(0),
        "core": member.core,
        "cores": sorted(os.sched_getaffinity(0)),
        "owner_pid": member.owner_pid,
        "fds": sorted(fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
        "stdin": os.readlink("/proc/self/fd/0"),
        "random": random.random(),
        "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }
    link.send("born", member.name, member.incarnation, facts)
