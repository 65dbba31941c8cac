from __future__ import annotations

import errno
import os

import pytest
from walled import NOBODY, become, sandboxed

from cells import syscalls, walls
from cells.attempt import attempt
from cells.errors import CellUnavailable
from cells.syscalls import number_of
from cells.walls import WALLS, Found, NotEnforcedError, Wall, demand, probe

BY_NAME = {wall.name: wall for wall in WALLS}
FCNTL = {"x86_64": 72, "aarch64": 25}[os.uname().machine]


def numbered(name: str) -> int:
    number = FCNTL if name == "fcntl" else number_of(name)
    assert number is not None
    return number


def missing(name: str, strict: bool = False) -> str:
    """What CellUnavailable says if only this wall is probed."""
    try:
        demand(probe([BY_NAME[name]]), strict)
    except CellUnavailable as error:
        return str(error)
    return "there is a wall"


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_this_machine_gives_every_required_wall(uid: int) -> None:
    def body() -> str:
        become(uid)
        return repr([wall for wall in probe() if wall.is_required and not wall.is_present])

    if os.geteuid() not in (0, uid):
        pytest.skip("only root can become another user")
    assert attempt(body).said == "[]"


@pytest.mark.parametrize(
    ("call", "answer", "wall", "why"),
    [
        ("seccomp", errno.ENOSYS, "seccomp", "Function not implemented"),
        ("seccomp", 0, "seccomp", "went through"),
        ("fcntl", errno.EINVAL, "seals", "Invalid argument"),
        ("fcntl", 0, "seals", "a truncation went through"),
        ("prctl", errno.EINVAL, "death signal", "Invalid argument"),
        ("prctl", 0, "death signal", "outlived its parent"),
        ("prlimit64", errno.EPERM, "limits", "not permitted"),
        ("prlimit64", 0, "limits", "went through"),
        ("capset", errno.EPERM, "user", "not permitted"),
        ("landlock_create_ruleset", errno.ENOSYS, "landlock", "no Landlock"),
        ("landlock_restrict_self", 0, "landlock", "went through"),
        ("landlock_restrict_self", 0, "landlock scopes", "went through"),
        ("unshare", errno.EPERM, "namespaces", "refuses them"),
        ("prctl", errno.EINVAL, "mdwe", "no MDWE"),
        ("prctl", 0, "mdwe", "went through"),
    ],
)
def test_a_wall_that_is_missing_or_only_pretended_is_named(call: str, answer: int, wall: str, why: str) -> None:
    said = sandboxed({numbered(call): answer}, lambda: missing(wall, strict=True)).said
    assert said is not None
    assert f"it lacks a wall: {wall}: " in said
    assert why in said
    assert BY_NAME[wall].advice in said


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root is still root")
def test_a_change_of_user_that_is_only_pretended_is_named() -> None:
    said = sandboxed({numbered("setresuid"): 0, numbered("capset"): 0}, lambda: missing("user")).said
    assert said is not None
    assert "it lacks a wall: user: it is still root" in said


def test_only_strict_wants_the_optional_walls() -> None:
    unscoped = {numbered("landlock_create_ruleset"): errno.ENOSYS}
    assert sandboxed(unscoped, lambda: missing("landlock")).said == "there is a wall"
    assert "landlock" in (sandboxed(unscoped, lambda: missing("landlock", strict=True)).said or "")


def test_every_missing_wall_is_named() -> None:
    found = [
        Found("one", True, False, "why not one"),
        Found("two", True, True, "here"),
        Found("three", False, False, "why not three"),
        Found("four", True, False, "why not four"),
    ]
    with pytest.raises(CellUnavailable, match=r"it lacks walls: one: why not one; four: why not four$"):
        demand(found, strict=False)
    with pytest.raises(CellUnavailable, match=r"one: .*three: .*four: "):
        demand(found, strict=True)
    assert demand([found[1], found[2]], strict=False).names == {"two"}


def test_a_probe_that_ends_its_os_process_or_raises_has_no_wall() -> None:
    def pretended() -> str:
        raise NotEnforcedError("it went through")

    ends = Wall("ends", True, lambda: os._exit(3), "advice")
    found = probe([ends, Wall("pretended", True, pretended, "advice")])
    assert [(wall.is_present, wall.detail) for wall in found] == [
        (False, "its probe ended with status 3; advice"),
        (False, "it went through; advice"),
    ]


def test_an_unknown_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = os.uname_result((*os.uname()[:4], "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: unknown)
    syscalls.machine.cache_clear()
    try:
        assert "known of x86_64 and aarch64, and this is riscv64" in missing("machine")
    finally:
        monkeypatch.undo()
        syscalls.machine.cache_clear()


def test_what_is_required_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = walls.require(strict=False)
    monkeypatch.setattr(walls, "probe", lambda: pytest.fail("it was tried again"))
    assert walls.require(strict=False) is first
