"""What can be done with a descriptor that was left open, and getting more of them."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import struct
import termios

from walled import Prey, attack, syscall

from cells.syscalls import call

MEMFD_SECRET, TIMERFD_CREATE, SIGNALFD4 = 447, 283, 289


@attack("EPERM")
def map_an_inherited_descriptor(prey: Prey) -> object:
    return call("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE, prey.memfd, 0)


@attack("EPERM")
def map_it_shared_to_write(prey: Prey) -> object:
    return call("mmap", 0, mmap.PAGESIZE, mmap.PROT_WRITE, mmap.MAP_SHARED, prey.memfd, 0)


@attack("EPERM")
def read_it_at_an_offset(prey: Prey) -> object:
    return os.pread(prey.memfd, 5, 0) == b"memfd"


@attack("EPERM")
def truncate_it(prey: Prey) -> object:
    os.ftruncate(prey.memfd, 0)
    return os.lseek(prey.memfd, 0, os.SEEK_END) == 0


@attack("EPERM")
def enlarge_it(prey: Prey) -> object:
    os.posix_fallocate(prey.memfd, 0, 1 << 20)
    return os.lseek(prey.memfd, 0, os.SEEK_END) == 1 << 20


@attack("EFBIG")
def write_to_an_inherited_file(prey: Prey) -> object:
    return os.write(prey.regular, b"!")


@attack("EPERM")
def lock_an_inherited_file(prey: Prey) -> object:
    fcntl.flock(prey.regular, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


@attack("EPERM")
def copy_a_descriptor(prey: Prey) -> object:
    return os.dup(prey.memfd)


@attack("EPERM")
def dup_bomb(prey: Prey) -> object:
    return max(os.dup(prey.memfd) for _ in range(500)) >= 500


@attack("EPERM")
def make_the_peers_bell_block(prey: Prey) -> object:
    """O_NONBLOCK belongs to the open file, which the node has, too: its next write would block."""
    os.set_blocking(prey.bell, True)
    return os.get_blocking(prey.bell)


@attack("EPERM")
def ask_a_descriptor_by_ioctl(prey: Prey) -> object:
    fcntl.ioctl(prey.sockets[0], termios.FIONREAD, bytes(4))
    return True


@attack("succeeded")
def saturate_its_own_bell(prey: Prey) -> object:
    """It may: the node's end does not block, and is told EAGAIN."""
    os.eventfd_write(prey.bell, (1 << 64) - 2)
    try:
        os.eventfd_write(prey.bell, 1)
    except BlockingIOError:
        return True
    return False


@attack("EPERM")
def send_a_descriptor(prey: Prey) -> object:
    return socket.send_fds(prey.sockets[0], [b"!"], [prey.memfd])


@attack("EPERM")
def receive_a_descriptor(prey: Prey) -> object:
    prey.sockets[1].send(b"!")
    return socket.recv_fds(prey.sockets[0], 1, 1)[0]


@attack("EPERM")
def splice_one_into_another(prey: Prey) -> object:
    return os.sendfile(prey.sockets[0].fileno(), prey.memfd, 0, 5) == 5


@attack("EPERM")
def make_a_pipe(prey: Prey) -> object:
    return os.pipe()


@attack("EPERM")
def make_a_memfd(prey: Prey) -> object:
    return os.memfd_create("attack")


@attack("EPERM")
def make_a_secret_memfd(prey: Prey) -> object:
    return syscall(MEMFD_SECRET, 0)


@attack("EPERM")
def make_an_eventfd(prey: Prey) -> object:
    return os.eventfd(0)


@attack("EPERM")
def make_an_epoll(prey: Prey) -> object:
    return select.epoll()


@attack("EPERM")
def make_a_timerfd(prey: Prey) -> object:
    return syscall(TIMERFD_CREATE, 1, 0)


@attack("EPERM")
def make_a_signalfd(prey: Prey) -> object:
    return syscall(SIGNALFD4, (1 << 64) - 1, struct.pack("Q", 1), 8, 0)


@attack("EPERM")
def map_memory_to_share(prey: Prey) -> object:
    return mmap.mmap(-1, mmap.PAGESIZE)
