"""The demonstration: a short run with real kills, and that its verdict would see what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from boot.cli import main
from boot.demo import killer, show
from boot.demo.account import LAZY, Account, find_lost, quantile
from boot.demo.journal import Journal
from boot.demo.store import KEYS, NOTHING, Written, key_of, place_of
from boot.demo.verdict import Verdict, judge
from boot.demo.watch import MORE_FDS, Sample, grown, thirds

PAIRS = 4


# --- a run ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_lost_in_a_short_run_with_a_fixed_seed(beamlike: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = beamlike("demo", "--minutes", 0.05, "--every", 0.2, "--seed", 7, "--json")
    assert result.stderr == ""
    verdict = json.loads(result.stdout)
    assert verdict["faults"] == []
    assert result.returncode == 0
    kills = sum(verdict["kills"].values())
    assert kills >= 4
    assert verdict["in_flight"] >= 0.9 * kills
    assert verdict["acknowledged"] > 100
    assert verdict["jobs"] > 0
    assert (verdict["lost"], verdict["doubled"], verdict["failed"]) == (0, 0, 0)


# --- the verdict ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal.create(slots=2, seconds=1.0)
    yield journal
    journal.close()


def test_client_that_is_killed_leaves_the_number_of_its_last_write_or_of_the_one_before(journal: Journal) -> None:
    slot, numbers = journal.slots[1], (1, 2**40 + 5)
    slot.begin(numbers[0])
    client = os.fork()
    if client == 0:
        while True:
            for number in numbers:
                slot.begin(number)
    try:
        assert {slot.tried for _ in range(200_000)} == set(numbers)
    finally:
        os.kill(client, signal.SIGKILL)
        os.waitpid(client, 0)


def written_by(journal: Journal, writes: int, *, lose: tuple[int, ...] = ()) -> Account:
    """An account of a run in which both clients wrote so often, and the store has lost some of them."""
    account = Account(after={})
    for number, slot in enumerate(journal.slots):
        for write in range(1, writes + 1):
            slot.begin(write)
            slot.acknowledge(write)
            _, key, sequence = place_of(number, write, PAIRS)
            if write not in lose:
                account.kept[key] = account.kept.get(key, NOTHING).after(sequence, "")
    return account


def verdict_on(journal: Journal, account: Account, samples: tuple[Sample, ...] = (), left_over: tuple[str, ...] = ()) -> Verdict:
    return judge(account, journal.slots, 1.0, samples, 4, left_over)


def test_a_run_in_which_all_is_kept_is_good(journal: Journal) -> None:
    verdict = verdict_on(journal, written_by(journal, 100))
    assert (verdict.faults, verdict.acknowledged, verdict.lost, verdict.doubled) == ((), 200, 0, 0)
    assert verdict.lines()[-1].startswith("read back: 0 acknowledged writes lost")


@pytest.mark.parametrize("number", [1, 50, 100])
def test_a_lost_write_is_found_wherever_it_is(journal: Journal, number: int) -> None:
    verdict = verdict_on(journal, written_by(journal, 100, lose=(number,)))
    assert verdict.lost == 2  # of both clients
    assert "2 acknowledged writes are lost" in verdict.faults[0]
    assert verdict.lines()[-1].startswith("WRONG: 2 acknowledged writes are lost")


def test_a_key_that_is_gone_is_lost(journal: Journal) -> None:
    account = written_by(journal, 16)
    del account.kept[key_of(1, 3)]
    assert find_lost(journal.slots, account.kept) == [(key_of(1, 3), 1), (key_of(1, 3), 2)]


def test_a_write_that_was_not_acknowledged_may_be_there_or_not(journal: Journal) -> None:
    account = written_by(journal, 100)
    journal.slots[0].begin(101)  # its client was killed
    assert journal.slots[0].is_in_flight
    assert not journal.slots[1].is_in_flight
    assert verdict_on(journal, account).faults == ()
    _, key, sequence = place_of(0, 101, PAIRS)
    account.kept[key] = account.kept[key].after(sequence, "")
    assert verdict_on(journal, account).faults == ()


def test_a_write_that_was_executed_twice_is_a_fault(journal: Journal) -> None:
    account = written_by(journal, 100)
    key = key_of(1, 7)
    account.kept[key] = account.kept[key].after(account.kept[key].last, "")
    assert verdict_on(journal, account).faults == ("1 writes were executed twice",)


def test_a_store_that_cannot_be_read_back_is_a_fault(journal: Journal) -> None:
    assert verdict_on(journal, Account()).faults == ("the store could not be read back",)


def test_what_failed_leaked_or_is_left_over_is_a_fault(journal: Journal) -> None:
    account = Account(before={"some:server": 4, LAZY: 9}, after={"some:server": 5, "another:one": 1, LAZY: 12})
    account.take([{"kind": "failed", "what": "call to pair 'store-1': no answer"}])
    assert verdict_on(journal, account, left_over=("the OS process 1 is left over",)).faults == (
        "call to pair 'store-1': no answer",
        "1 processes too many began with some:server",
        "1 processes too many began with another:one",
        "the OS process 1 is left over",
    )


def test_a_pair_that_has_changed_sides_is_no_leak() -> None:
    before, after = {"boot.demo.store:Store": 4, "nodes.pair_backup:back_up": 4}, {"nodes.pair_backup:back_up": 8}
    assert Account(before=before, after=after).leaked(nodes=4) == {}
    assert Account(before=before, after={"nodes.pair_backup:back_up": 9}).leaked(nodes=4) == {"halves": 1}


def test_what_grows_all_the_time_is_told_from_what_is_flat() -> None:
    sample = Sample(nodes=4, owner_fds=40, owner_memory=1 << 25, node_fds=30, node_memory=1 << 25)
    flat = [replace(sample, owner_fds=40 + number % 3) for number in range(30)]
    leaking = [replace(sample, owner_fds=40 + number * MORE_FDS // 4) for number in range(30)]
    assert grown(flat) == {}
    assert grown(leaking) == {"owner_fds": 20}
    assert thirds(leaking)["owner_fds"] == (78, 98)
    assert grown(leaking[:8]) == {}


@pytest.mark.parametrize(("faults", "is_early", "status"), [((), False, 0), (("a write is lost",), False, 1), ((), True, 130)])
def test_the_verdict_decides_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, journal: Journal, faults: tuple[str, ...], is_early: bool, status: int
) -> None:
    verdict = replace(verdict_on(journal, written_by(journal, 1)), faults=faults)
    monkeypatch.setattr(show, "run_demo", lambda console, **options: (verdict, is_early))
    for options in ([], ["--json"]):
        result = CliRunner().invoke(main, ["demo", *options])
        assert result.exit_code == status
        assert all(fault in result.output for fault in faults)
        assert "footprint" in result.output if options else "acknowledged writes in" in result.output


def test_events_are_counted() -> None:
    account = Account()
    account.take([{"kind": "up", "at": 0.5, "node": node} for node in ("n1@vm", "n2@vm")])
    kill = {"kind": "killed", "at": 1.0, "late": 0.25, "spared": 1, "in_flight": True}
    account.take([{**kill, "victim": "n1@vm", "roles": ["conductor", "primary"]}, {**kill, "victim": "forge", "roles": ["forge"]}])
    assert (account.kills, account.in_flight, account.spared, account.late) == (Counter({"n1@vm": 1, "forge": 1}), 2, 2, 0.5)
    assert account.down == {"n1@vm": 1.0}  # the forge is not waited for
    account.take([{**kill, "at": 1.25, "victim": "n1@vm", "roles": []}, {"kind": "up", "at": 1.5, "node": "n1@vm"}])
    assert (account.down, account.back, account.kills["n1@vm"]) == ({}, [0.25], 2)
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]


# --- the store ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12)))
def test_a_key_knows_which_of_its_writes_came_and_which_came_twice(numbers: list[int]) -> None:
    written = Written()
    for number in numbers:
        written = written.after(number, str(number))
    assert {number for number in range(1, 14) if written.has(number)} == set(numbers)
    assert written.doubled == len(numbers) - len(set(numbers))


def test_the_writes_of_a_key_count_from_one_and_each_is_under_one_key() -> None:
    places: dict[str, list[int]] = {}
    pairs: dict[str, set[str]] = {}
    for number in range(1, 10 * KEYS + 1):
        pair, key, sequence = place_of(3, number, PAIRS)
        places.setdefault(key, []).append(sequence)
        pairs.setdefault(key, set()).add(pair)
        assert key == key_of(3, number)
    assert list(places.values()) == [list(range(1, 11))] * KEYS
    assert all(len(each) == 1 for each in pairs.values())


# --- the journal ----------------------------------------------------------------------------------------------------------


def test_nodes_write_in_the_journal_of_the_owner(journal: Journal) -> None:
    there = Journal.open(journal.address)
    assert there is Journal.open(journal.address)
    there.begin(every=0.2)
    there.slots[1].begin(1)
    there.slots[1].acknowledge(1)
    there.slots[1].begin(2)
    there.draw(every=0.2)
    there.tell("up", node="n1")
    assert (journal.slots[0].tried, journal.slots[1].tried, journal.slots[1].done, journal.slots[1].marks()) == (0, 2, 1, b"\1\0")
    assert journal.drawn == 1
    assert [journal.next_kill - journal.begun, journal.end - journal.begun] == pytest.approx([0.4, 1.0])
    assert [event["kind"] for event in journal.news()] == ["up"]
    assert journal.news() == []
    assert not there.is_over
    journal.stop()
    assert there.is_over


# --- the killer -----------------------------------------------------------------------------------------------------------


def test_the_seed_decides_who_is_drawn() -> None:
    roster = ("n1", "n2", "n3", "n4")
    draws = [killer.order_of(7, kill, roster) for kill in range(1000)]
    assert draws == [killer.order_of(7, kill, roster) for kill in range(1000)]
    assert draws != [killer.order_of(8, kill, roster) for kill in range(1000)]
    assert all(sorted(draw) == ["forge", *roster] for draw in draws)
    first = Counter(draw[0] for draw in draws)
    assert 50 < first["forge"] < 110
    assert min(first[node] for node in roster) > 190


def half(node: str, incarnation: int) -> SimpleNamespace:
    return SimpleNamespace(node=node, origin=(node, incarnation))


@pytest.mark.parametrize(
    ("places", "spared"),
    [
        ([(half("n1", 1), half("n2", 2))], set()),
        ([(half("n1", 1), None)], {"n1"}),  # it is making a backup
        ([(half("n3", 3), half("n2", 2))], {"n2"}),  # that life of n3 is over
        ([(half("n1", 1), half("n2", 2)), (half("n2", 2), None)], {"n2"}),
        ([(half("n1", 1), half("n2", 2)), None], {"n1", "n2", "n3"}),  # of one it is not known where it is
    ],
)
def test_who_has_the_last_half_of_a_pair_is_spared(monkeypatch: pytest.MonkeyPatch, places: list[object], spared: set[str]) -> None:
    monkeypatch.setattr(killer, "list_nodes", lambda: ["n1", "n2", "n3"])
    monkeypatch.setattr(killer, "members", lambda group: [half("n1", 1), half("n2", 2), half("n3", 4)])
    monkeypatch.setattr(killer, "where_is_pair", lambda name: places[int(name.rpartition("-")[2]) - 1])
    assert killer._last_halves(len(places)) == spared
