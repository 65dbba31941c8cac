"""Tables: who may do what, values that nobody shares, and what becomes of a table whose owner ends."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import caps
from beamlike import (
    Down,
    Pid,
    Stop,
    Table,
    TableError,
    TableTransfer,
    blocking,
    exit,
    io,
    monitor,
    receive,
    record,
    run,
    self_pid,
    send,
    sleep,
    spawn,
    spawn_monitor,
)
from beamlike.hot.ids import NodeId


@record
class Route:
    host: str
    ports: Any


async def in_another_process(fn: Callable[[], Any]) -> Any:
    """What `fn()` returns or raises in a process of its own."""
    outcome: list[Any] = []

    async def body() -> None:
        try:
            outcome.append((fn(), None))
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            outcome.append((None, error))

    _, ref = spawn_monitor(body)
    await receive(lambda message: type(message) is Down and message.ref == ref, timeout=5)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def with_node(body: Callable[[], Any]) -> None:
    run(body, seed=1)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_every_process_of_the_node_reads_what_the_owner_wrote() -> None:
    async def main() -> None:
        table = Table("routes")
        table["a"] = 1
        assert await in_another_process(lambda: Table.find("routes")["a"]) == 1
        table["a"] = 2
        assert await in_another_process(lambda: Table.find("routes")["a"]) == 2

    with_node(main)


def test_neither_the_writer_nor_a_reader_can_change_what_others_read() -> None:
    async def main() -> None:
        table = Table("t")
        given = [1, {"k": [2]}]
        table["list"] = given
        given.append(3)
        table["list"].append(4)
        table.get("list")[1]["k"].append(5)
        table.items()[0][1].append(6)
        assert table["list"] == [1, {"k": [2]}]
        table["route"] = Route("h", [1])
        table["route"].ports.append(2)
        assert table["route"] == Route("h", [1])

    with_node(main)


@pytest.mark.parametrize("value", [1, "s", (1, (2, "x")), frozenset({1}), Route("h", (80, 443)), None])
def test_an_immutable_value_is_handed_out_as_it_is(value: Any) -> None:
    async def main() -> None:
        table = Table("t")
        table["k"] = value
        assert table["k"] is value
        assert table.get("k") is value
        assert table.items()[0][1] is value

    with_node(main)


def test_what_cannot_be_sent_cannot_be_stored_and_the_error_names_it() -> None:
    async def main() -> None:
        table = Table("t")
        with pytest.raises(TypeError, match=r"message\['x'\]"):
            table["k"] = {"x": object()}
        with pytest.raises(TypeError, match="object"):
            table[object()] = 1
        assert len(table) == 0

    with_node(main)


@pytest.mark.parametrize("key", [[1], (1, [2]), bytearray(b"x")])
def test_a_mutable_key_is_refused_by_what_writes(key: Any) -> None:
    async def main() -> None:
        table = Table("t")
        for write in (lambda: table.__setitem__(key, 1), lambda: table.insert_new(key, 1)):
            with pytest.raises(TypeError, match="immutable throughout, not"):
                write()

    with_node(main)


def test_a_missing_key_is_a_key_error_and_get_and_pop_have_defaults() -> None:
    async def main() -> None:
        table = Table("t")
        with pytest.raises(KeyError, match="nobody"):
            table["nobody"]
        with pytest.raises(KeyError):
            del table["nobody"]
        with pytest.raises(KeyError):
            table.pop("nobody")
        assert table.get("nobody") is None
        assert table.get("nobody", 7) == 7
        assert table.pop("nobody", 8) == 8
        assert "nobody" not in table

    with_node(main)


def test_iteration_is_over_the_rows_as_they_were_when_it_began() -> None:
    async def main() -> None:
        table = Table("t")
        for index in range(5):
            table[index] = index
        seen = []
        for key in table:
            seen.append(key)
            del table[key]
            table[key + 100] = key
        assert seen == [0, 1, 2, 3, 4]
        assert dict(table.items()) == {index + 100: index for index in range(5)}

    with_node(main)


def test_insert_new_sets_only_what_is_not_there() -> None:
    async def main() -> None:
        table = Table("t")
        assert table.insert_new("k", [1])
        assert not table.insert_new("k", 2)
        assert table["k"] == [1]

    with_node(main)


def test_update_counter_starts_at_zero_and_takes_ints_only() -> None:
    async def main() -> None:
        table = Table("t")
        assert table.update_counter("n") == 1
        assert table.update_counter("n", 10) == 11
        assert table.update_counter("n", -20) == -9
        table["list"] = [1]
        with pytest.raises(TypeError, match=r"the value of 'list' is an int, not \[1\]"):
            table.update_counter("list")
        with pytest.raises(TypeError, match=r"by is an int, not 1.5"):
            table.update_counter("n", 1.5)  # type: ignore[arg-type]
        assert table["n"] == -9

    with_node(main)


KEYS = st.integers(0, 4) | st.sampled_from(["a", "b"])
ATOMS = st.integers() | st.text(max_size=3) | st.none()
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=2) | st.tuples(inner), max_leaves=4)
STEPS = st.tuples(st.sampled_from(["set", "pop", "insert_new", "get", "in"]), KEYS, VALUES)


@given(st.lists(STEPS, max_size=30))
def test_a_table_does_what_a_dict_does(steps: list[tuple[str, Any, Any]]) -> None:
    async def main() -> None:
        table = Table("t", access="public")
        model: dict[Any, Any] = {}
        for step, key, value in steps:
            match step:
                case "set":
                    table[key] = value
                    model[key] = value
                case "pop":
                    assert table.pop(key, "none") == model.pop(key, "none")
                case "insert_new":
                    assert table.insert_new(key, value) == (key not in model)
                    model.setdefault(key, value)
                case "get":
                    assert table.get(key, "none") == model.get(key, "none")
                case "in":
                    assert (key in table) == (key in model)
            assert len(table) == len(model)
            assert list(table) == list(model)
        assert table.items() == list(model.items())

    with_node(main)


# --- access ---------------------------------------------------------------------------------------------------------------

READS: dict[str, Callable[[Table], Any]] = {
    "[]": lambda t: t["k"],
    "get": lambda t: t.get("k"),
    "in": lambda t: "k" in t,
    "len": len,
    "iter": list,
    "items": lambda t: t.items(),
}
WRITES: dict[str, Callable[[Table], Any]] = {
    "[]=": lambda t: t.__setitem__("k", 2),
    "del": lambda t: t.__delitem__("k"),
    "pop": lambda t: t.pop("k"),
    "insert_new": lambda t: t.insert_new("new", 1),
    "update_counter": lambda t: t.update_counter("k"),
}
OWNS: dict[str, Callable[[Table], Any]] = {
    "give_away": lambda t: t.give_away(t.owner),
    "delete": lambda t: t.delete(),
}
RULES = [
    (access, kind, name, fn, access in allowed)
    for kind, ops, allowed in (("read", READS, ("public", "protected")), ("write", WRITES, ("public",)), ("own", OWNS, ()))
    for name, fn in ops.items()
    for access in ("public", "protected", "private")
]


@pytest.mark.parametrize(("access", "kind", "name", "fn", "others_may"), RULES, ids=lambda part: part if type(part) is str else "")
def test_who_may_do_what(access: Any, kind: str, name: str, fn: Callable[[Table], Any], others_may: bool) -> None:
    async def main() -> None:
        table = Table("t", access=access)
        table["k"] = 1
        if others_may:
            await in_another_process(lambda: fn(table))
        else:
            with pytest.raises(TableError, match=rf"the table 't' \({access}\) belongs to .*{self_pid().serial}>, and .* may not"):
                await in_another_process(lambda: fn(table))
            assert table.items() == [("k", 1)]
            fn(table)  # its owner may

    with_node(main)


def test_threads_read_and_do_not_write() -> None:
    async def main() -> None:
        table = Table("t", access="public")
        table["k"] = [1]
        assert await blocking(lambda: table["k"]) == [1]
        with pytest.raises(RuntimeError, match="called in a thread"):
            await blocking(lambda: table.update_counter("n"))
        assert "n" not in table

    run(main)


def test_a_thread_has_all_rows_while_the_owner_writes() -> None:
    """Here the owner writes just when a row is copied."""

    async def main() -> None:
        table = Table("t")
        for key in range(3):
            table[key] = [key]

        def copy(value: Any) -> Any:
            table._rows["new"] = 1
            return list(value)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("beamlike.table.copy_value", copy)
            assert table.items() == [(0, [0]), (1, [1]), (2, [2])]
        assert len(table) == 4

    with_node(main)


def test_the_owner_writes_in_trio_mode_too() -> None:
    async def main() -> None:
        table = Table("t", access="private")
        async with io():
            table["k"] = 1
        assert table["k"] == 1

    run(main)


# --- names and arguments --------------------------------------------------------------------------------------------------


def test_a_name_is_taken_until_its_table_is_gone() -> None:
    async def main() -> None:
        first = Table("t")
        with pytest.raises(TableError, match="'t' is taken: <Table 't' of"):
            Table("t")
        first.delete()
        with pytest.raises(TableError, match="no table 't'"):
            Table.find("t")
        second = Table("t")
        assert Table.find("t") is second

    with_node(main)


def test_wrong_arguments_are_named() -> None:
    async def main() -> None:
        stranger = Pid(NodeId("other@elsewhere", 1), 1)
        with pytest.raises(ValueError, match="access is 'public', 'protected' or 'private', not 'open'"):
            Table("t", access="open")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="non-empty str, not 5"):
            Table(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="non-empty str"):
            Table("")
        with pytest.raises(TypeError, match="heir expects a Pid, not 'me'"):
            Table("t", heir="me")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="of another node"):
            Table("t", heir=stranger)
        with pytest.raises(TypeError, match="cannot send"):
            Table("t", heir=self_pid(), heir_data=object())
        table = Table("t")  # nothing of these was left behind
        with pytest.raises(TypeError, match="give_away expects a Pid, not None"):
            table.give_away(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="of another node"):
            table.give_away(stranger)

    with_node(main)


def test_a_table_cannot_be_sent_but_is_given_to_a_process_that_is_spawned() -> None:
    async def child(table: Table, to: Pid) -> None:
        send(to, table["k"])

    async def main() -> None:
        table = Table("t")
        table["k"] = "v"
        with pytest.raises(TypeError, match=r"<Table 't' of .*> is a beamlike\.table\.Table"):
            send(self_pid(), table)
        spawn(child, table, self_pid())
        assert await receive(timeout=1) == "v"

    with_node(main)


def test_outside_of_a_process_there_is_no_table() -> None:
    with pytest.raises(RuntimeError, match="not called by a process"):
        Table("t")


# --- the owner's end ------------------------------------------------------------------------------------------------------


async def end_by_return() -> None:
    await receive()


async def end_by_exception() -> None:
    await receive()
    raise ValueError("broken")


async def end_by_stop() -> None:
    await receive()
    raise Stop("enough")


ENDS = [(end_by_return, "normal"), (end_by_exception, "ValueError: broken"), (end_by_stop, "enough"), (None, "killed")]


async def owner(end: Callable[[], Any] | None, to: Pid, heir: Pid | None, rows: dict[Any, Any]) -> None:
    table = Table("t", heir=heir, heir_data=["data"])
    for key, value in rows.items():
        table[key] = value
    send(to, "ready")
    await (end_by_return if end is None else end)()


async def start_and_end_owner(end: Callable[[], Any] | None, heir: Pid | None = None) -> tuple[Pid, Table, Any]:
    pid, ref = spawn_monitor(owner, end, self_pid(), heir, {"k": [1]})
    assert await receive(lambda message: message == "ready", timeout=5) == "ready"
    table = Table.find("t")
    assert table.owner == pid
    if end is None:
        exit(pid, "kill")
    else:
        send(pid, "end")
    return pid, table, ref


@pytest.mark.parametrize(("end", "why"), ENDS)
def test_a_table_goes_with_its_owner_and_every_use_says_why(end: Any, why: str) -> None:
    async def main() -> None:
        pid, table, _ = await start_and_end_owner(end)
        await receive(Down, timeout=5)
        for use in (*READS.values(), *WRITES.values(), *OWNS.values()):
            with pytest.raises(TableError, match=rf"the table 't' is gone: its owner <.*{pid.serial}> ended \({why}.*\), it had no heir"):
                use(table)
        assert "gone" in repr(table)
        Table("t")  # the name is free

    with_node(main)


@pytest.mark.parametrize(("end", "why"), ENDS)
def test_the_heir_gets_the_table_and_a_message_before_any_down(end: Any, why: str) -> None:
    async def main() -> None:
        pid, table, ref = await start_and_end_owner(end, heir=self_pid())
        assert await receive(timeout=5) == TableTransfer("t", pid, ["data"])
        down = await receive(timeout=5)
        assert down.ref == ref
        assert table.owner == self_pid()
        assert table["k"] == [1]
        table["k"] = 2
        assert Table.find("t") is table

    with_node(main)


def test_the_heir_gets_the_table_with_data_that_cannot_be_copied_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def owner(heir: Pid) -> None:
        Table("t", heir=heir, heir_data=[colorsys.rgb_to_hsv])
        await receive()

    async def main() -> None:
        job = colorsys.rgb_to_hsv
        child = spawn(owner, self_pid())
        await sleep(0)
        monkeypatch.setattr(colorsys, "rgb_to_hsv", None)
        send(child, "end")
        assert await receive(timeout=1) == TableTransfer("t", child, [job])

    with_node(main)


def test_with_a_dead_heir_the_table_is_gone() -> None:
    async def main() -> None:
        heir, _ = spawn_monitor(end_by_return)
        send(heir, "end")
        await receive(Down, timeout=5)
        _, table, _ = await start_and_end_owner(end_by_return, heir=heir)
        await receive(Down, timeout=5)
        with pytest.raises(TableError, match=rf"its heir <.*{heir.serial}> before it"):
            table["k"]

    with_node(main)


def test_the_heir_stays_the_heir_when_the_table_changes_hands() -> None:
    async def worker(to: Pid) -> None:
        transfer = await receive(TableTransfer, timeout=5)
        table = Table.find(transfer.table)
        table.update_counter("runs")
        send(to, ("worked", transfer.sender, transfer.data))
        raise Stop("worn out")

    async def main() -> None:
        table = Table("t", heir=self_pid(), heir_data="back")
        for run_number in range(1, 4):
            pid, _ = spawn_monitor(worker, self_pid())
            table.give_away(pid, run_number)
            with pytest.raises(TableError, match="belongs to"):
                table["k"] = 1
            assert await receive(timeout=5) == ("worked", self_pid(), run_number)
            assert await receive(timeout=5) == TableTransfer("t", pid, "back")
            assert type(await receive(timeout=5)) is Down
            assert table.owner == self_pid()
            assert table["runs"] == run_number
        table.delete()
        with pytest.raises(TableError, match=r"gone: <.*> deleted it"):
            len(table)

    with_node(main)


def test_an_owner_that_is_its_own_heir_has_none() -> None:
    async def self_heir(to: Pid) -> None:
        Table("t", heir=self_pid())
        send(to, "ready")

    async def main() -> None:
        pid = spawn(self_heir, self_pid())
        await receive(lambda message: message == "ready", timeout=5)
        monitor(pid)
        await receive(Down, timeout=5)
        with pytest.raises(TableError, match="no table 't'"):
            Table.find("t")

    with_node(main)


def test_a_dead_process_is_given_nothing() -> None:
    async def main() -> None:
        dead, _ = spawn_monitor(end_by_return)
        send(dead, "end")
        await receive(Down, timeout=5)
        table = Table("t")
        with pytest.raises(TableError, match=r"cannot be given to <.*>, which is not alive"):
            table.give_away(dead)
        table["k"] = 1
        assert table.owner == self_pid()

    with_node(main)


# --- exclusions -----------------------------------------------------------------------------------------------------------


async def limited(exclude: list[Any], body: Callable[[], Any]) -> Any:
    """What `body()` returns in a process with these exclusions, or the exclusion that it was refused by."""
    outcome: list[Any] = []

    async def process() -> None:
        try:
            outcome.append(body())
        except caps.CapabilityError as error:
            outcome.append(error.exclusion)

    _, ref = spawn_monitor(process, exclude=exclude)
    await receive(lambda message: type(message) is Down and message.ref == ref, timeout=5)
    return outcome[0]


def hand_over(victim: Pid) -> str:
    table = Table("t")
    try:
        table.give_away(victim, "data")
    finally:
        assert table.owner in (victim, self_pid())
        if table.owner == self_pid():
            table["k"] = "still mine"
            table.delete()
    return "given"


def name_heir(victim: Pid) -> str:
    Table("t", heir=victim, heir_data="data")
    return "named"


@pytest.mark.parametrize("way", [hand_over, name_heir])
def test_no_table_is_a_message_to_who_may_not_be_sent_one(way: Callable[[Pid], str]) -> None:
    async def victim(boss: Pid) -> None:
        send(boss, await receive(timeout=5))

    async def main() -> None:
        pid = spawn(victim, self_pid(), name="victim")
        for term in (
            *[("send", name) for name in (pid, "victim", ("victim", pid.node), pid.node)],
            ("only", ("send", self_pid())),
        ):
            assert await limited([term], lambda: way(pid)) == term
            with pytest.raises(TableError, match="no table 't'"):
                Table.find("t")
        send(pid, "nothing came before")
        assert await receive(timeout=5) == "nothing came before"

    with_node(main)


@pytest.mark.parametrize("way", [hand_over, name_heir])
def test_a_table_goes_to_who_may_be_sent_messages(way: Callable[[Pid], str]) -> None:
    async def main() -> None:
        heir = self_pid()
        assert await limited([("only", ("send", heir))], lambda: way(heir)) in ("given", "named")
        assert (await receive(TableTransfer, timeout=5)).data == "data"

    with_node(main)


@pytest.mark.parametrize("way", [hand_over, name_heir])
def test_a_process_with_exclusions_is_its_own_heir_and_gives_to_itself(way: Callable[[Pid], str]) -> None:
    async def main() -> None:
        boss = self_pid()
        assert await limited([("only", ("send", boss))], lambda: way(self_pid())) in ("given", "named")

    with_node(main)


def test_tables_end_with_their_node() -> None:
    kept: list[Table] = []

    async def main() -> None:
        kept.append(Table("t", heir=self_pid()))
        kept[0]["k"] = 1

    async def next_main() -> None:
        with pytest.raises(TableError, match="no table 't'"):
            Table.find("t")
        with pytest.raises(TableError, match="gone"):
            kept[0]["k"]

    run(main)
    run(next_main)
