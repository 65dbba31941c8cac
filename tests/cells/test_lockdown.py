from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import threading

import pytest
import trio
from walled import sandboxed

import beamlike
from beamlike import receive, self_pid, send, sleep, spawn
from cells import lockdown, seccomp
from cells._walls import lib
from cells.attempt import Outcome, attempt
from cells.lockdown import close_all_but, prepare
from cells.seccomp import FORBIDDEN, violation_of
from cells.syscalls import call, number_of

MIB = 1 << 20
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
NO_FD = (1 << 64) - 1


@pytest.fixture(scope="module")
def lock() -> lockdown.Lock:
    return prepare(executable=False)


def test_a_scheduler_goes_on_when_it_is_locked_in_its_main_process(lock: lockdown.Lock) -> None:
    async def echo() -> None:
        while True:
            sender, message = await receive()
            send(sender, message)

    async def main() -> str:
        lock.apply(64 * MIB, 5, None)
        for pid in [spawn(echo) for _ in range(10)]:
            send(pid, (self_pid(), b"message"))
        heard = [await receive() for _ in range(10)]
        await sleep(0.01)
        with pytest.raises(MemoryError):
            bytearray(256 * MIB)
        async with beamlike.io():
            os.eventfd_write(bell, 1)
            await trio.lowlevel.wait_readable(bell)
        return str(len(heard))

    bell = os.eventfd(0, os.EFD_NONBLOCK)
    assert attempt(lambda: str(beamlike.run(main))).said == "10"
    os.close(bell)


def test_the_limit_of_memory_counts_from_what_is_in_use(lock: lockdown.Lock) -> None:
    def body() -> str:
        lock.apply(32 * MIB, 1, None)
        mmap.mmap(-1, 24 * MIB, flags=ANONYMOUS).close()  # bytearray might be given what is mapped and free
        with pytest.raises(OSError, match="Cannot allocate"):
            mmap.mmap(-1, 33 * MIB, flags=ANONYMOUS)
        return "both"

    assert attempt(body).said == "both"


def test_the_address_space_is_measured_as_the_kernel_counts_it() -> None:
    def body() -> str:
        before = lockdown.address_space()
        with open("/proc/self/statm") as file:
            counted = int(file.read().split()[0]) * mmap.PAGESIZE
        kept = mmap.mmap(-1, 16 * MIB, flags=ANONYMOUS)
        grown = lockdown.address_space() - before
        kept.close()
        return str((abs(before - counted) < MIB, grown))

    assert attempt(body).said == str((True, 16 * MIB))


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_ends_the_cell_with_a_status_that_names_it(name: str, lock: lockdown.Lock) -> None:
    if (number := number_of(name)) is None:
        pytest.skip("this machine has no such call")

    def body() -> str:
        lock.apply(MIB, 1, None)
        return str(lib.bl_syscall(number, 0, 0, 0, 0, 0, 0))

    assert violation_of(attempt(body).status) == name


def test_other_statuses_name_no_call() -> None:
    first = seccomp.FIRST_STATUS
    assert [violation_of(status) for status in (-9, 0, 1, first - 1, first + len(FORBIDDEN))] == [None] * 5
    assert first + len(FORBIDDEN) < 128 + signal.SIGSYS


def test_a_limit_below_one_is_an_error(lock: lockdown.Lock) -> None:
    with pytest.raises(ValueError, match="at least 1 byte and 1 second, not memory=0 and cpu=1"):
        lock.apply(0, 1, None)
    with pytest.raises(ValueError, match="cpu=0"):
        lock.apply(1, 0, None)


def test_an_os_process_with_another_thread_is_not_locked(lock: lockdown.Lock) -> None:
    def body() -> str:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        lock.apply(MIB, 1, None)
        return "locked"

    raised = attempt(body).raised
    assert raised is not None
    assert raised.startswith("the kernel refused a wall of a cell, one thread: unshare: ")


@pytest.mark.parametrize("name", ["setresuid", "capset", "prlimit64", "landlock_restrict_self", "seccomp"])
def test_a_wall_that_the_kernel_refuses_is_named(name: str, lock: lockdown.Lock) -> None:
    (wall,) = {call.wall for call in lock.calls() if call.name == name}
    number = number_of(name)
    assert number is not None

    def body() -> str:
        lock.apply(MIB, 1, gone)
        return "locked"

    gone, alive = os.pipe()
    raised = sandboxed({number: errno.EPERM}, body).raised
    os.close(gone)
    os.close(alive)
    assert raised is not None
    assert f"refused a wall of a cell, {wall}: {'RLIMIT_AS' if wall == 'limits' else name}: Operation not permitted" in raised


def orphan(lock: lockdown.Lock, parent_alive_fd: int | None) -> Outcome:
    """A fork that locks itself, and whose parent is not who made the Lock."""

    def body() -> str:
        def cell() -> str:
            lock.apply(MIB, 1, parent_alive_fd)
            return "locked"

        return str(attempt(cell))

    return attempt(body)


def test_an_os_process_whose_parent_has_gone_ends_before_it_is_locked(lock: lockdown.Lock) -> None:
    gone, alive = os.pipe()
    os.close(alive)
    assert orphan(lock, gone).said == str(Outcome(1, None, None))
    assert orphan(lock, None).said == str(Outcome(1, None, None))
    os.close(gone)


def test_an_os_process_whose_parent_lives_is_locked(lock: lockdown.Lock) -> None:
    lives, living = os.pipe()
    assert orphan(lock, lives).said == str(Outcome(0, "locked", None))
    pidfd = os.pidfd_open(os.getpid())
    assert orphan(lock, pidfd).said == str(Outcome(0, "locked", None))
    for fd in (lives, living, pidfd):
        os.close(fd)


def test_all_descriptors_are_closed_but_those_to_be_kept() -> None:
    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    def body() -> str:
        kept = os.dup2(report, 900), os.dup2(report, 33)
        os.dup2(report, 34)
        os.dup2(report, 1000)
        close_all_but(kept)
        os.write(33, str([fd for fd in range(1024) if is_open(fd)]).encode())
        return "never said: that descriptor is closed"

    heard, report = os.pipe()
    attempt(body)
    assert os.read(heard, 100) == b"[33, 900]"
    os.close(heard)
    os.close(report)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its code is x86's")
def test_an_executable_lock_lets_code_be_made_but_not_written_while_it_can_run() -> None:
    lock = prepare(executable=True)

    def body() -> str:
        lock.apply(MIB, 1, None)
        memory = call("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, ANONYMOUS, NO_FD, 0)
        ctypes.memmove(memory, b"\xb8\x07\x00\x00\x00\xc3", 6)  # mov eax, 7; ret
        call("mprotect", memory, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        with pytest.raises(PermissionError):
            call("mprotect", memory, mmap.PAGESIZE, mmap.PROT_WRITE | mmap.PROT_EXEC)
        with pytest.raises(PermissionError):
            call("mmap", 0, mmap.PAGESIZE, mmap.PROT_WRITE | mmap.PROT_EXEC, ANONYMOUS, NO_FD, 0)
        return str(ctypes.CFUNCTYPE(ctypes.c_int)(memory)())

    assert attempt(body).said == "7"


def test_wasm_is_compiled_and_run_after_an_executable_lock() -> None:
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime is an extra")
    lock = prepare(executable=True)
    module = wasmtime.wat2wasm(
        """(module (memory (export "memory") 1 100)
             (func (export "twice") (param i32) (result i32) local.get 0 i32.const 2 i32.mul)
             (func (export "beyond") (result i32) i32.const 99999999 i32.load)
             (func (export "loop") (loop br 0)))"""
    )

    def body() -> str:
        lock.apply(32 * MIB, 2, None)
        config = wasmtime.Config()
        config.parallel_compilation = config.memory_init_cow = False
        config.memory_reservation, config.memory_guard_size, config.memory_reservation_for_growth = MIB, 65536, 0
        config.consume_fuel = True
        engine = wasmtime.Engine(config)
        store = wasmtime.Store(engine)
        store.set_fuel(1_000_000)
        exports = wasmtime.Linker(engine).instantiate(store, wasmtime.Module(engine, module)).exports(store)
        for trap in ("beyond", "loop"):
            with pytest.raises((wasmtime.Trap, wasmtime.WasmtimeError), match=r"out of bounds|all fuel consumed"):
                exports[trap](store)
        store.set_fuel(1_000_000)
        return str(exports["twice"](store, 21))

    assert attempt(body).said == "42"
