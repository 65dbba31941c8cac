"""Checks that test_services.py runs; each is a process of a system of four nodes."""

from __future__ import annotations

from collections import Counter

from in_system import kill, others, stay, until_up

from beamlike import Down, Exit, Pid, exit, monitor, process_flag, receive, self_pid, send, sleep, spawn_at
from nodes import SpawnError, list_nodes
from nodes.load import load_of
from nodes.placement import spawn_link_at, spawn_monitor_at


async def tell(who: Pid) -> None:
    send(who, self_pid())
    await receive()


async def nothing() -> None:
    pass


async def burn() -> None:
    while True:
        pass


async def check_any_takes_each_node_in_turn() -> None:
    count = len(list_nodes())
    nodes = [(await spawn_at("any", nothing)).node for _ in range(3 * count)]
    assert nodes[:count] == nodes[count : 2 * count] == nodes[2 * count :]
    assert sorted(nodes[:count]) == list_nodes()


async def check_least_loaded_leaves_out_a_node_that_computes() -> None:
    busy = others()[1]
    burner = await spawn_at(busy, burn)
    while load_of(busy).queue < 1:  # not `busy`: the machine may have other things to do
        await sleep(0.02)
    nodes = Counter([(await spawn_at("least_loaded", tell, self_pid())).node for _ in range(12)])
    assert busy not in nodes, nodes
    exit(burner, "kill")
    for _ in range(12):
        exit(await receive(timeout=5), "kill")


async def check_least_loaded_spreads_what_is_placed_at_once() -> None:
    while any(max(load_of(node).queue, load_of(node).busy) > 0.1 for node in list_nodes()):  # those that were busy, or start
        await sleep(0.02)
    nodes = Counter([(await spawn_at("least_loaded", tell, self_pid())).node for _ in range(40)])
    for _ in range(40):
        exit(await receive(timeout=5), "kill")
    assert len(nodes) >= 2, nodes


async def check_the_figures_of_a_node_count_its_processes() -> None:
    node = others()[0]
    pids = [await stay(node, nothing) for _ in range(50)]
    while load_of(node).processes < 50:
        await sleep(0.02)
    for pid in pids:
        exit(pid, "kill")
    try:
        load_of("n9@nowhere")
    except ValueError as error:
        assert list_nodes()[0] in str(error)
    else:
        raise AssertionError


async def check_spawn_link_at_links_before_the_child_runs() -> None:
    process_flag("trap_exit", True)
    for node in [*list_nodes(), "any", "least_loaded"]:
        pid = await spawn_link_at(node, nothing)
        assert await receive(timeout=5) == Exit(pid, "normal")


async def check_spawn_monitor_at_watches_before_the_child_runs() -> None:
    for node in [*list_nodes(), "any", "least_loaded"]:
        pid, ref = await spawn_monitor_at(node, nothing)
        assert await receive(timeout=5) == Down(ref, pid, "normal")


async def check_the_end_of_the_parent_reaches_a_linked_child() -> None:
    pid = await spawn_at(others()[1], link_and_stay, self_pid())
    child = await receive(timeout=5)
    ref = (await spawn_monitor_at(child.node, watch, child, self_pid()))[1]
    assert await receive(timeout=5) == "watching"
    exit(pid, "done")
    assert await receive(lambda message: not isinstance(message, Down), timeout=5) == "done"
    assert (await receive(timeout=5)).ref == ref


async def link_and_stay(who: Pid) -> None:
    send(who, await spawn_link_at("any", nothing_ever))
    await receive()


async def nothing_ever() -> None:
    await receive()


async def watch(child: Pid, who: Pid) -> None:
    monitor(child)
    send(who, "watching")
    send(who, (await receive()).reason)


async def check_an_unknown_or_lost_node_is_an_error_that_names_the_others() -> None:
    node = others()[1]
    for spawn in (spawn_at, spawn_link_at, spawn_monitor_at):
        try:
            await spawn("n9@nowhere", nothing)
        except SpawnError as error:
            assert node in str(error)
        else:
            raise AssertionError
        try:
            await spawn(node, nothing, nme="x")
        except TypeError:
            pass
        else:
            raise AssertionError
    before = (await spawn_at(node, nothing)).origin
    await kill(node)
    assert before not in {(await spawn_at("any", nothing)).origin for _ in range(8)}  # it may be back meanwhile
    await until_up(4)
    assert node in {(await spawn_at("any", nothing)).node for _ in range(8)}
