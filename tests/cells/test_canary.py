from __future__ import annotations

import os

import pytest
from walled import NOBODY, Only, become

from cells import canary, lockdown
from cells.attempt import attempt
from cells.errors import CellUnavailable

USERS = [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()]


def warning(lock: lockdown.Lock) -> str:
    try:
        canary.check(lock)
    except CellUnavailable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("executable", [False, True])
@pytest.mark.parametrize("uid", USERS)
def test_every_attack_of_the_canary_fails_in_a_locked_cell(uid: int, executable: bool) -> None:
    def body() -> str:
        become(uid)
        return warning(lockdown.prepare(executable)) or "it lives"

    assert attempt(body).said == "it lives"


@pytest.mark.parametrize(
    ("wall", "attacks"),
    [
        ("seccomp", ["look at a file", "map a descriptor", "truncate a file", "become dumpable", "call execve", "call ptrace"]),
        ("limits", ["have more memory than its limit", "write to a file"]),
        ("death signal", ["outlive its zygote"]),
        pytest.param("user", ["be root"], marks=pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root is root")),
    ],
)
def test_the_canary_names_what_a_missing_wall_lets_through(wall: str, attacks: list[str]) -> None:
    walls = {call.wall for call in lockdown.prepare(executable=False).calls()}
    assert wall in walls
    said = warning(Only(walls - {wall}))
    assert [attack for attack in attacks if attack not in said] == []


def test_the_canary_leaves_no_os_process_behind() -> None:
    def body() -> str:
        canary.check(lockdown.prepare(executable=False))
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return "none"

    assert attempt(body).said == "none"
