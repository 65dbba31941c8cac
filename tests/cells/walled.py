"""Runs attacks: unlocked, where each must succeed, and behind walls, where none may.

Theory of operation. A range is an OS process that forks, for each attack, a stage with a victim and the attacker. Behind walls it is what a
zygote is, so it is made before the secret that an attacker looks for. Unlocked it is a fork that has the secret, in a pid namespace of its
own, so that nothing outlives its stage; limits keep its bombs small.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import mmap
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from cells import bpf, lockdown, seccomp
from cells._walls import ffi
from cells.attempt import Outcome, attempt
from cells.syscalls import Call, call, machine

NOBODY = lockdown.NOBODY
MEMORY = 64 << 20  # bytes a locked attacker gets
CPU = 1  # seconds
ROOM = 1 << 30  # bytes an unlocked one gets, and its seconds of CPU time
PATIENCE = 20

# From linux/sched.h, linux/mount.h and linux/prctl.h
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
REC, PRIVATE = 0x4000, 0x40000
SET_PDEATHSIG, SET_DUMPABLE, SET_NO_NEW_PRIVS = 1, 4, 38
SET_MODE_FILTER = 1  # from linux/seccomp.h

SUCCEEDED, NOTHING = "succeeded", "nothing"


@dataclass
class Prey:
    """What an attacker finds in its OS process: what a cell has by mistake or on purpose, and whom it may want to reach."""

    victim: int  # pid, of the same user
    pidfd: int  # of the victim, which has the memfd, too
    memfd: int  # of a page, which begins with b"memfd"
    regular: int  # a file, open for writing
    bell: int  # an eventfd that does not block
    sockets: tuple[socket.socket, socket.socket]  # a pair
    port: int  # where somebody listens on 127.0.0.1
    abstract: str  # the address of an abstract socket where somebody listens
    scratch: str  # a directory that everybody may write
    code: mmap.mmap  # machine code: i386's getpid, by int 0x80


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Through ctypes, as an attacker would. Raises: OSError."""
    words = [ctypes.c_void_p(word) if isinstance(word, int) else word for word in arguments]
    return checked(int(libc.syscall(ctypes.c_long(number), *words)))


def checked(result: int) -> int:
    """What a function of libc returned, which is -1 if it failed. Raises: OSError."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Attack(NamedTuple):
    """`act` returns a proof that it succeeded, or nothing."""

    name: str
    kind: str
    act: Callable[[Prey], object]
    locked: str  # what becomes of it behind all walls, see `outcome_of`
    unlocked: str
    needs: str  # "root": nobody else can do it unlocked


ATTACKS: list[Attack] = []


def attack(locked: str, unlocked: str = SUCCEEDED, needs: str = "") -> Callable[[Callable[[Prey], object]], Callable[[Prey], object]]:
    """Enter it in the corpus: its name is the function's, its kind the module's."""

    def enter(act: Callable[[Prey], object]) -> Callable[[Prey], object]:
        kind = act.__module__.rpartition(".")[2]
        ATTACKS.append(Attack(act.__name__.strip("_").replace("_", " "), kind, act, locked, unlocked, needs))
        return act

    return enter


class Only(lockdown.Lock):
    """A lock with some of its walls."""

    def __init__(self, walls: Iterable[str]) -> None:
        self.walls = frozenset(walls) | {"one thread"}
        super().__init__(executable=False)

    def calls(self) -> list[Call]:
        return [call for call in super().calls() if call.wall in self.walls]


@dataclass
class Secret:
    """What an attacker looks for in memory: it is in an unlocked range, as it would be in a node, and not in one that is like a zygote."""

    text: str


class Range:
    """Where attacks run, as this user, behind these walls: all of a Lock by default, and none for an empty list.

    Where walls are missing `contain` is called in each stage, so that nothing gets out; by default it is `contained`.
    """

    def __init__(self, uid: int, walls: Iterable[str] | None = None, contain: Callable[[], object] | None = None) -> None:
        self._contain = contain or contained
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._abstract = socket.socket(socket.AF_UNIX)
        self._abstract.bind("")  # the kernel picks a name
        self._abstract.listen()
        self._scratch = tempfile.TemporaryDirectory(prefix="beamlike-hostile-")
        os.chmod(self._scratch.name, 0o777)
        self._regular = os.open(self._scratch.name, os.O_TMPFILE | os.O_RDWR)
        self._walls = None if walls is None else frozenset(walls)
        self._ours, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._ours.close()
                faulthandler.disable()  # that an attack ends its OS process is no news
                signal.signal(signal.SIGSYS, signal.SIG_DFL)  # a Lock may have been made here before
                become(uid)
                self._serve(theirs)
            finally:
                os._exit(1)
        theirs.close()

    def run(self, attack: Attack) -> str:
        """What became of it: see `outcome_of`."""
        self._ours.send(ATTACKS.index(attack))
        outcome: str = self._ours.recv()
        return outcome

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)  # ranges that were made later have our end of its pipe, too
        os.waitpid(self._pid, 0)
        self._ours.close()
        self._listener.close()
        self._abstract.close()
        os.close(self._regular)
        self._scratch.cleanup()

    def _serve(self, channel: Connection) -> None:
        lock = None
        if self._walls != frozenset():
            lock = lockdown.prepare(executable=False) if self._walls is None else Only(self._walls)
        secret = Secret(os.urandom(8).hex()) if lock is None else None
        victim = Victim.make() if self._walls is None else None  # it outlives what is behind all walls
        while True:
            attack = ATTACKS[channel.recv()]
            try:
                if victim is None:
                    outcome = attempt(partial(self._stage, attack, lock, secret))
                else:
                    outcome = attempt(partial(self._strike, attack, victim, lock, None))
            except TimeoutError:
                channel.send("hangs")
            else:
                channel.send(outcome_of(outcome))

    def _stage(self, attack: Attack, lock: lockdown.Lock | None, secret: Secret | None) -> str:
        """In a fork of the range. An attacker finds the secret here, if there is one."""
        self._contain()
        alive, living = os.pipe()
        victim = Victim.make()

        def strike() -> str:
            os.close(living)
            return self._strike(attack, victim, lock, alive)

        outcome = attempt(strike)
        os.kill(victim.pid, signal.SIGKILL)
        return outcome_of(outcome)

    def _strike(self, attack: Attack, victim: Victim, lock: lockdown.Lock | None, parent_alive_fd: int | None) -> str:
        """In a fork of the range, or of a stage."""
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, 20; int 0x80; pop rbx; ret
        prey = Prey(
            victim=victim.pid,
            pidfd=victim.pidfd,
            memfd=victim.memfd,
            regular=self._regular,
            bell=os.eventfd(0, os.EFD_NONBLOCK),
            sockets=socket.socketpair(),
            port=self._listener.getsockname()[1],
            abstract=self._abstract.getsockname(),
            scratch=self._scratch.name,
            code=code,
        )
        if lock is not None:
            lock.apply(MEMORY, CPU, parent_alive_fd)
        try:
            return SUCCEEDED if attack.act(prey) else NOTHING
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return type(error).__name__


class Victim(NamedTuple):
    """An OS process that does nothing, and ends with us."""

    pid: int
    pidfd: int
    memfd: int  # it has this

    @staticmethod
    def make() -> Victim:
        memfd = os.memfd_create("prey")
        os.write(memfd, b"memfd".ljust(mmap.PAGESIZE, b"\0"))
        os.lseek(memfd, 0, os.SEEK_SET)
        if (pid := os.fork()) == 0:
            call("prctl", SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            lockdown.close_all_but([memfd])
            signal.pause()
            os._exit(0)
        return Victim(pid, os.pidfd_open(pid), memfd)


def outcome_of(outcome: Outcome) -> str:
    """SUCCEEDED; NOTHING, it was carried out and gained nothing; the name of an errno, or of an exception; the signal that
    ended it; `ends: execve`, the forbidden call that did; or the exit status."""
    if outcome.status < 0:
        return signal.Signals(-outcome.status).name
    if violation := seccomp.violation_of(outcome.status):
        return f"ends: {violation}"
    return outcome.said or outcome.raised or f"status {outcome.status}"


def become(uid: int) -> None:
    """As if this user had started this OS process."""
    if os.geteuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        call("prctl", SET_DUMPABLE, 1, 0, 0, 0)


def sandboxed(answers: Mapping[int, int], body: Callable[[], str]) -> Outcome:
    """`attempt` it where these system calls are answered with an errno, and not made: 0 is a sandbox that only says yes."""

    def inside() -> str:
        code = bpf.assemble(machine().audit, {number: bpf.refuse(error) for number, error in answers.items()}, bpf.ALLOW)
        held = ffi.new("uint8_t[]", code)
        program = ffi.new("struct sock_fprog *", {"len": len(code) // 8, "filter": ffi.cast("struct sock_filter *", held)})
        call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        call("seccomp", SET_MODE_FILTER, 0, program)
        return body()

    return attempt(inside)


def contained() -> None:
    """Return in a fork, from which nothing gets out that outlives it: its OS processes, its mounts and its System V objects."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", NEWPID | NEWNS | NEWIPC | NEWUTS | (NEWUSER if uid else 0))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    call("mount", 0, b"/\0", 0, REC | PRIVATE, 0)
    if pid := os.fork():
        os.waitpid(pid, 0)
        os._exit(0)
    call("mount", 0, b"/proc\0", b"proc\0", 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (lockdown.address_space() + ROOM,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
