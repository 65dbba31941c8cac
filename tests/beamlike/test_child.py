"""Child specs: every field is checked, and what `ChildSpec.of` makes of classes and functions."""

from __future__ import annotations

from typing import Any

import pytest

from beamlike import DEFAULT, ChildSpec, DynamicSupervisor, GenServer, Pid, Supervisor, receive, run, self_pid, send, spawn_link
from beamlike.behaviours.child import spec_of, start_process

INFINITY = float("inf")


async def worker(*args: Any) -> None:
    await receive()


async def start_worker(*args: Any) -> Pid:
    return spawn_link(worker, *args)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("id", None, TypeError),
        ("id", [1], TypeError),
        ("id", object(), TypeError),
        ("start", print, TypeError),
        ("start", "worker", ValueError),
        ("args", [1], TypeError),
        ("restart", "always", ValueError),
        ("shutdown", "kill", ValueError),
        ("shutdown", -1, ValueError),
        ("shutdown", float("nan"), ValueError),
        ("shutdown", None, TypeError),
        ("shutdown", True, ValueError),
        ("type", "server", ValueError),
        ("significant", 1, ValueError),
        ("exclude", [("port_io", "all")], TypeError),
        ("node", 7, ValueError),
        ("options", None, TypeError),
    ],
)
def test_a_wrong_field_is_named_with_what_was_given(field: str, value: Any, error: type[Exception]) -> None:
    fields: dict[str, Any] = {"id": "c", "start": start_worker, field: value}
    with pytest.raises(error) as raised:
        ChildSpec(**fields)
    assert field in str(raised.value)
    assert repr(value) in str(raised.value)
    assert "expected" in str(raised.value)


def test_a_permanent_child_cannot_be_significant() -> None:
    with pytest.raises(ValueError, match="significant is for transient and temporary children"):
        ChildSpec("c", start_worker, significant=True)
    assert ChildSpec("c", start_worker, significant=True, restart="transient").significant


@pytest.mark.parametrize(
    ("type_", "shutdown", "grace"),
    [
        ("worker", DEFAULT, 5.0),
        ("supervisor", DEFAULT, INFINITY),
        ("worker", "infinity", INFINITY),
        ("worker", "brutal_kill", 0.0),
        ("supervisor", 2, 2.0),
        ("worker", 0, 0.0),
    ],
)
def test_s5_how_long_a_child_has_to_stop(type_: Any, shutdown: Any, grace: float) -> None:
    assert ChildSpec("c", start_worker, type=type_, shutdown=shutdown).grace == grace


def test_of_an_async_function_is_the_child_itself() -> None:
    spec = ChildSpec.of(worker, 1, 2, restart="temporary", name="w")
    assert spec == ChildSpec("worker", start_process, (worker, 1, 2), restart="temporary", options={"name": "w"})


def test_of_a_behaviour_class_is_started_by_its_start_link() -> None:
    assert ChildSpec.of(Supervisor, (), id="top") == ChildSpec("top", Supervisor.start_link, ((),), type="supervisor")
    assert ChildSpec.of(DynamicSupervisor).type == "supervisor"


@pytest.mark.parametrize("what", [print, 7, "worker", int, Supervisor.start_link])
def test_of_anything_else_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match=r"ChildSpec\.of"):
        ChildSpec.of(what)


@pytest.mark.parametrize("what", [worker, GenServer, Supervisor])
def test_of_with_an_option_that_there_is_not_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match=r"ChildSpec\.of.*'nmae'.*name"):
        ChildSpec.of(what, nmae="x")
    assert ChildSpec.of(what, name="x").options == {"name": "x"}


def test_a_class_or_function_stands_for_its_spec() -> None:
    spec = ChildSpec("c", start_worker)
    assert spec_of(spec) is spec
    assert spec_of(worker) == ChildSpec.of(worker)
    assert spec_of(Supervisor) == ChildSpec.of(Supervisor)
    with pytest.raises(TypeError, match="a child is a ChildSpec"):
        spec_of(("c", worker))


def test_a_spec_can_be_sent() -> None:
    async def main() -> Any:
        send(self_pid(), ChildSpec.of(worker, [1], name="w", exclude=[("port_io", "all")]))
        return await receive()

    assert run(main, seed=1) == ChildSpec.of(worker, [1], name="w", exclude=[("port_io", "all")])
