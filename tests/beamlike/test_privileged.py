"""C5, C6: every privileged call is refused to whom an exclusion refuses it, and changes nothing then; and there is no call that is in no
table. Those that need other nodes are in tests/nodes/test_privileged.py."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any

import privileged_attempts
import pytest
from privileged_attempts import ATTEMPTS, SITUATIONS, try_all

import beamlike
import caps
import nodes
from beamlike import process_flag, run
from beamlike.privileged import DRIVERS, LATER, PRIVILEGED
from caps.kinds import BUILT_IN
from nodes import chaos

LOCAL = [each for each in ATTEMPTS if not each.call.startswith("nodes.")]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("beamlike").setLevel(logging.NOTSET)


def test_the_attempts_are_those_of_the_table() -> None:
    assert sorted((row.call, row.kind) for row in PRIVILEGED) == sorted((each.call, each.kind) for each in ATTEMPTS)


def test_every_kind_is_asked_by_a_call_or_said_to_be_later() -> None:
    assert {row.kind for row in (*PRIVILEGED, *DRIVERS, *LATER)} == {kind.name for kind in BUILT_IN}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_c5_each_is_refused_and_changes_nothing_and_passes_where_nothing_speaks_against_it(situation: str) -> None:
    async def main() -> Any:
        process_flag("trap_exit", True)
        return await try_all(LOCAL, SITUATIONS[situation])

    assert run(main) == {}


def test_without_the_checks_each_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above finds a check that is taken out."""
    monkeypatch.setattr(beamlike.privileged, "require", lambda *_: None)
    monkeypatch.setattr(beamlike.privileged, "require_target", lambda *_: None)
    monkeypatch.setattr(beamlike.names, "require", lambda *_: None)
    monkeypatch.setattr(caps, "require", lambda *_: None)

    async def main() -> Any:
        process_flag("trap_exit", True)
        return await try_all([each for each in LOCAL if each.is_harmless], privileged_attempts.direct)

    assert run(main).keys() == {each.name for each in LOCAL if each.is_harmless}


UNPRIVILEGED = {
    "outside of processes": "run node run_in_asyncio call_from_asyncio nodes.run nodes.list_systems",
    "what a process does to itself": "self_pid receive sleep io process_flag unlink demonitor cancel_timer caller_layers application",
    "only takes away, from the caller and what descends from it": "tighten",
    "answers who asked": "reply",
    "is of the caller's own tasks": "Task.await_ Task.yield_ Task.shutdown",
    "tells of names, and what is done with a pid is checked": "whereis registered processes nodes.whereis_global nodes.registered_global "
    "nodes.members nodes.local_members nodes.list_groups nodes.where_is_pair nodes.list_nodes nodes.partition_of nodes.chaos.conductor "
    "nodes.DistributedSupervisor.whereis_child",
    "tells of an end, and of nothing else": "monitor nodes.monitor_node nodes.demonitor_node nodes.monitor_group nodes.demonitor_group",
    "tells of numbers": "dead_letter_counts nodes.load_of nodes.topology",
    "makes a value": "make_ref pack unpack record",
    "has access rights of its own": "Table.find Table.get Table.items Table.insert_new Table.pop Table.update_counter Table.delete",
    "waits for what others hold": "Lock",
    "values, and bases to write one's own": "DEFAULT IGNORE NOREPLY Backoff Call Caller Cast ChildInfo ChildSpec Continue DeadLetter Down "
    "Enter EventTimeout Exit Ignored Limits Mailbox Pid ProcessInfo Ref Request Started StateTimeout TableTransfer Timeout "
    "nodes.GroupJoined nodes.GroupLeft nodes.Load nodes.NodeDown nodes.NodeState nodes.NodeUp nodes.Pair nodes.chaos.FAULTS "
    "nodes.chaos.KINDS nodes.chaos.Lasting nodes.chaos.Schedule nodes.chaos.Step nodes.chaos.from_json nodes.chaos.to_json",
    "does what the other calls of chaos do, and is checked by them": "nodes.chaos.run nodes.chaos.replay",
    "state of the caller's own pair": "nodes.change",
}


def public_calls() -> dict[str, Any]:
    """What can be called of the faces, and its function; of a behaviour, a Table and of `system` the functions."""
    found: dict[str, Any] = {}
    for prefix, module in (("", beamlike), ("nodes.", nodes), ("nodes.chaos.", chaos)):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, BaseException):
                continue
            own: list[str] = []
            if value is beamlike.system:
                own = [each for each, fn in vars(value).items() if inspect.iscoroutinefunction(fn) and fn.__module__ == value.__name__]
            elif value is beamlike.Table:
                own = [each for each, fn in vars(value).items() if inspect.isfunction(fn) or isinstance(fn, staticmethod)]
            elif isinstance(value, type):
                of_class = {each: fn for base in value.__mro__[:-1] for each, fn in vars(base).items()}
                own = [each for each, fn in of_class.items() if isinstance(fn, staticmethod | classmethod)]
            own = [each for each in own if not each.startswith("_")]
            found |= {f"{prefix}{name}.{each}": getattr(value, each) for each in own} or {f"{prefix}{name}": value}
    return found


def test_every_public_call_is_in_the_table_or_said_to_need_no_permission() -> None:
    calls = public_calls()
    listed = {row.call for row in PRIVILEGED} | {name for names in UNPRIVILEGED.values() for name in names.split()}
    functions = [calls[name] for name in listed if name in calls]  # two supervisors have one `start_child`
    assert {
        name for name, fn in calls.items() if name not in listed and name.rpartition(".")[0] not in listed and fn not in functions
    } == set()
    assert {name for name in listed if name not in calls and name not in {name.rpartition(".")[0] for name in calls}} == set()
