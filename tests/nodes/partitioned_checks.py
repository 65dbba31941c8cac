"""Checks that test_services.py runs; each is a process of a system of four nodes."""
# ruff: noqa: SIM105 - nodes do not import pytest, so what is raised is caught by hand

from __future__ import annotations

from typing import Any

from in_system import do_at, kill, others, until_up

from beamlike import BadNameError, CallError, CallTimeoutError, ChildError, ChildStartError, GenServer, call, exit, self_pid, whereis
from nodes import list_nodes
from nodes.partitioned import call_partition, partition_of, start_partitioned, stop_partitioned

KEYS = [f"key{number}" for number in range(200)]


class Cache(GenServer):
    async def init(self, first: int, where: str | None = None) -> None:
        if where == self_pid().node:
            raise ValueError("not here")
        self.values: dict[Any, int] = {"first": first}

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case ("put", key, value):
                self.values[key] = value
            case ("get", key):
                return self.values.get(key), self_pid().node
            case "crash":
                raise ValueError("told to")


async def partitions() -> dict[str, str]:
    return {key: partition_of("cache", key) for key in KEYS}


async def has_instance(name: str) -> bool:
    return whereis(name) is not None


async def check_every_node_has_an_instance_and_all_agree_on_keys() -> None:
    await start_partitioned(Cache, 7, name="cache")
    for node in list_nodes():
        assert await do_at(node, has_instance, "cache")
    expected = await partitions()
    shares = [list(expected.values()).count(node) for node in list_nodes()]
    assert min(shares) > 25, shares
    for node in list_nodes():
        assert await do_at(node, partitions) == expected
    for number, key in enumerate(KEYS):
        await call_partition("cache", key, ("put", key, number))
    for number, key in enumerate(KEYS):
        assert await do_at(others()[0], call_partition, "cache", key, ("get", key)) == (number, expected[key])


async def check_only_the_keys_of_a_lost_node_move_and_they_are_back_when_it_is() -> None:
    for node in others()[:2]:  # the conductor's, too
        before = await partitions()
        await kill(node)
        if node not in list_nodes():
            during = await partitions()
            assert node not in during.values()
            assert all(during[key] == before[key] for key in KEYS if before[key] != node)
        for key in KEYS:
            await call_until_answered(key)
        await until_up(4)
        assert await partitions() == before
        for key in KEYS:
            assert (await call_partition("cache", key, ("get", "first")))[0] == 7


async def call_until_answered(key: str) -> Any:
    while True:
        try:
            return await call_partition("cache", key, ("get", key))
        except CallError as error:
            assert error.reason == "noconnection", error.reason


async def check_an_instance_that_crashes_is_started_again() -> None:
    for _ in range(5):
        for key in KEYS[:8]:
            node = partition_of("cache", key)
            try:
                await call((("cache"), node), "crash")
            except CallError:
                pass
            assert await call_partition("cache", key, ("get", "first")) == (7, node)


async def check_misuse_is_told() -> None:
    try:
        await start_partitioned(Cache, 1, name="cache")
    except ChildError as error:
        assert error.reason == "already_started"
    else:
        raise AssertionError
    for wrong in (lambda: call_partition("unknown", 1, 1), lambda: stop_partitioned("unknown")):
        try:
            await wrong()
        except BadNameError as error:
            assert "cache" in str(error)
        else:
            raise AssertionError


async def check_it_is_gone_everywhere_when_it_was_stopped() -> None:
    await stop_partitioned("cache")
    for node in list_nodes():
        assert not await do_at(node, has_instance, "cache")
    try:
        partition_of("cache", 1)
    except BadNameError:
        return
    raise AssertionError


async def check_if_one_instance_does_not_start_there_is_none() -> None:
    for node in list_nodes():
        try:
            await start_partitioned(Cache, 1, node, name="broken")
        except ChildStartError as error:
            assert "not here" in str(error)
        else:
            raise AssertionError
        for each in list_nodes():
            assert not await do_at(each, has_instance, "broken")


async def check_a_call_waits_for_an_instance_until_its_timeout() -> None:
    await start_partitioned(Cache, 1, name="waited")
    name = "waited"
    key = next(key for key in KEYS if partition_of(name, key) == self_pid().node)
    pid = whereis(name)
    assert pid is not None
    exit(pid, "kill")
    assert (await call_partition(name, key, ("get", "first")))[0] == 1
    try:
        await call_partition(name, key, ("get", "first"), timeout=0)
    except CallTimeoutError:
        pass
    else:
        raise AssertionError
    await stop_partitioned(name)
