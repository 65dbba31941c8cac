"""Reaching for the machine's files."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from walled import Prey, attack, checked, libc, syscall

OPENAT2, INOTIFY_INIT1 = 437, 294
AT_FDCWD = (1 << 64) - 100


@attack("EPERM")
def read_a_file(prey: Prey) -> object:
    with open("/etc/passwd") as file:
        return file.read().startswith("root:")


@attack("EPERM")
def open_a_file_through_ctypes(prey: Prey) -> object:
    fd = checked(libc.open(b"/etc/passwd", os.O_RDONLY))
    return os.read(fd, 5) == b"root:"


@attack("EPERM")
def open_a_file_by_openat2(prey: Prey) -> object:
    fd = syscall(OPENAT2, AT_FDCWD, b"/etc/passwd", bytes(24), 24)
    return os.read(fd, 5) == b"root:"


@attack("EPERM")
def take_a_handle_of_a_file(prey: Prey) -> object:
    handle = ctypes.create_string_buffer((128).to_bytes(4, "little"), 8 + 128)
    checked(libc.name_to_handle_at(-100, b"/etc/passwd", handle, ctypes.byref(ctypes.c_int()), 0))
    return handle.raw[8:].strip(b"\0")


@attack("EPERM")
def write_a_file(prey: Prey) -> object:
    return Path(prey.scratch, "written").write_bytes(b"!")


@attack("EPERM")
def list_a_directory(prey: Prey) -> object:
    return "etc" in os.listdir("/")


@attack("EPERM")
def look_at_a_file(prey: Prey) -> object:
    return os.stat("/etc/shadow").st_size


@attack("EPERM")
def unlink_a_file(prey: Prey) -> object:
    path = Path(prey.scratch, "to be unlinked")
    libc.close(checked(libc.creat(bytes(path), 0o666)))
    path.unlink()
    return True


@attack("EPERM")
def make_a_symbolic_link(prey: Prey) -> object:
    path = Path(prey.scratch, "link")
    path.symlink_to("/etc/passwd")
    path.unlink()
    return True


@attack("EPERM")
def make_a_directory(prey: Prey) -> object:
    path = Path(prey.scratch, "directory")
    path.mkdir()
    path.rmdir()
    return True


@attack("EPERM")
def make_a_fifo(prey: Prey) -> object:
    path = Path(prey.scratch, "fifo")
    os.mkfifo(path)
    path.unlink()
    return True


@attack("EPERM")
def open_a_directory_to_anybody(prey: Prey) -> object:
    os.chmod(prey.scratch, 0o777)
    return True


@attack("EPERM")
def tell_where_it_is(prey: Prey) -> object:
    return os.getcwd()


@attack("EPERM")
def go_elsewhere(prey: Prey) -> object:
    os.chdir("/")
    return os.getcwd() == "/"


@attack("EPERM")
def fill_shared_memory(prey: Prey) -> object:
    path = Path("/dev/shm", f"beamlike-{os.getpid()}")
    written = path.write_bytes(bytes(1 << 20))
    path.unlink()
    return written


@attack("EPERM")
def watch_files(prey: Prey) -> object:
    return syscall(INOTIFY_INIT1, 0) >= 0


@attack("EPERM")
def ask_for_the_room_on_a_disk(prey: Prey) -> object:
    return os.statvfs("/").f_blocks


@attack("EPERM", needs="root")
def leave_by_chroot(prey: Prey) -> object:
    os.chroot(prey.scratch)
    return "etc" not in os.listdir("/")


@attack("EPERM")
def make_a_socket_file(prey: Prey) -> object:
    path = os.path.join(prey.scratch, "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    os.unlink(path)
    return True
