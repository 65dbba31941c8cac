"""A PLAN.toml is read, and checked without running anything of the program: names by its source, goals as `boot.goals.plan` does."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import caps
from boot.bundle.archive import IMAGES
from boot.bundle.fields import (
    Field,
    PlanError,
    is_array,
    is_core,
    is_count,
    is_exclude,
    is_flag,
    is_names,
    is_number,
    is_of_application,
    is_options,
    is_positive,
    is_seconds,
    is_tables,
    is_text,
    matches,
    one_of,
    read_fields,
)
from boot.bundle.modules import check_start, read_files, read_modules
from boot.bundle.plan import TREE, UP, ChildPlan, GoalPlan, NodePlan, Plan, UnikernelPlan, made
from boot.bundle.system import NAME as MAIN
from boot.goals import NAME as GOAL_NAME
from boot.goals import Goal, GoalError
from boot.goals import plan as in_order
from boot.init_requests import NAME as INIT
from unikernels import MOST_MEMORY, ImageError, image_of

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
RESTARTS = ("permanent", "transient", "temporary")
NEEDED = (("spawn", "boot.keeping:guard"), ("spawn", "boot.keeping:keep"), ("register", TREE))
"""What Init and the trees do below the exclusions of a plan."""
TAKEN = (TREE, INIT, MAIN)  # local names
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
SHUTDOWNS = ("brutal_kill", "infinity")

NAME = "letters, digits and _.-, a letter or digit first, at most 60"
EXCLUDE = Field(is_exclude, 'exclusions, as [["net", "all"], ["file", "/etc", "w"]]', [])
ARGS = Field(is_array, "an array of texts, numbers, booleans, arrays and tables", [])
ON = Field(is_text, "the name of a node", None)
CORE = Field(is_core, "the number of a core", None)
RESTART = Field(one_of(*RESTARTS), f"one of {', '.join(RESTARTS)}", "permanent")
NAMES = Field(is_names, "names of goals, each once", [])

SYSTEM_FIELDS = {
    "name": Field(matches(NODE_NAME), NAME, "beamlike"),
    "modules": Field(is_names, "files and folders beside the plan, each once", []),
    "exclude": EXCLUDE,
    "strategy": Field(one_of(*STRATEGIES), f"one of {', '.join(STRATEGIES)}", "one_for_one"),
    "intensity": Field(is_number, "a number of restarts", 3),
    "period": Field(is_positive, "seconds, more than 0", 5.0),
    **{kind: Field(is_tables, f"tables: write [[{kind}]]", []) for kind in ("node", "child", "unikernel", "goal")},
}
NODE_FIELDS = {
    "name": Field(matches(NODE_NAME), NAME),
    "core": CORE,
    "exclude": EXCLUDE,
}
CHILD_FIELDS = {
    "id": Field(is_text, "a text", ""),
    "start": Field(is_text, "'module:name' of a class with start_link, or of an async function"),
    "args": ARGS,
    "options": Field(is_options, 'a table of options of its start, as { name = "db" }', {}),
    "node": ON,
    "restart": RESTART,
    "shutdown": Field(lambda value: is_seconds(value) or value in SHUTDOWNS, f"seconds, or one of {', '.join(SHUTDOWNS)}", "default"),
    "exclude": EXCLUDE,
}
UNIKERNEL_FIELDS = {
    "name": Field(matches(GOAL_NAME), "letters, digits and _.:@-, a letter or digit first, at most 100"),
    "image": Field(is_text, "a file that `beamlike build-unikernel` has made"),
    "args": ARGS,
    "node": ON,
    "core": CORE,
    "memory": Field(lambda value: is_count(value) and value <= MOST_MEMORY, f"bytes, at most {MOST_MEMORY}", 16 * 1024 * 1024),
    "cpu": Field(is_positive, "seconds of CPU time", None),
    "heartbeat": Field(is_positive, "seconds, more than 0", None),
    "restart": RESTART,
    "exclude": EXCLUDE,
}
GOAL_FIELDS = {
    "name": Field(matches(GOAL_NAME), "letters, digits and _.:@-, a letter or digit first, at most 100"),
    "start": Field(is_text, "'module:name' of an async function, or of a class with start_link"),
    "args": ARGS,
    "requires": NAMES,
    "wants": NAMES,
    "each_node": Field(is_flag, "true or false", False),
    "only_first_boot": Field(is_flag, "true or false", False),
    "start_timeout": Field(is_positive, "seconds, more than 0", 10.0),
    "stop_timeout": Field(is_seconds, "seconds, 0 or more", 5.0),
    "attempts": Field(is_count, "a number, 1 or more", 3),
    "period": Field(is_positive, "seconds, more than 0", 60.0),
    "exclude": EXCLUDE,
}


def read_plan(path: Path) -> tuple[Plan, dict[str, bytes]]:
    """The plan in a file, and the files that its bundle has. Raises: PlanError with all that is wrong
    with its form, or, if nothing is, with what it names; OSError: it cannot be read."""
    if not path.is_file():
        raise PlanError([f"{path} is no regular file"])
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError([f"{path} is no TOML: {error}"]) from None
    problems: list[str] = []
    system = read_fields(str(path), table, SYSTEM_FIELDS, problems)
    nodes, children, unikernels, goals = (
        _tables(kind, system.pop(kind), fields, problems)
        for kind, fields in (("node", NODE_FIELDS), ("child", CHILD_FIELDS), ("unikernel", UNIKERNEL_FIELDS), ("goal", GOAL_FIELDS))
    )
    files = read_files(path.parent, system.pop("modules"), problems)
    if problems:  # what follows would only say the same in other words
        raise PlanError(problems)
    lists = {
        "nodes": tuple(made(NodePlan, each) for each in nodes) or (NodePlan("n1", None, ()),),
        "children": tuple(made(ChildPlan, {**each, "id": each["id"] or each["start"].rpartition(":")[2]}) for each in children),
        "unikernels": tuple(made(UnikernelPlan, each) for each in unikernels),
        "goals": tuple(made(GoalPlan, each) for each in goals),
    }
    plan = made(Plan, {**system, **lists})
    _check_names(plan, problems)
    _check_exclude(str(path), plan, problems)
    modules = read_modules(files, problems)
    for kind, label, start in _starts(plan):
        check_start(f"{kind} {label!r}", start, modules, problems)
    _check_goals(plan, problems)
    images = _read_images(path.parent, plan, problems)
    if not (plan.children or plan.unikernels or plan.goals):
        problems.append(f"{path} starts nothing: it has no [[child]], [[unikernel]] or [[goal]]")
    if problems:
        raise PlanError(problems)
    placed = tuple(replace(each, image=image_path(each.name)) for each in plan.unikernels)
    return replace(plan, unikernels=placed), {**files, **images}


def image_path(name: str) -> str:
    """Where the image of a unikernel is in a bundle."""
    return f"{IMAGES}{name}"


def _tables(kind: str, tables: list[Any], fields: Mapping[str, Field], problems: list[str]) -> list[dict[str, Any]]:
    found = []
    for number, table in enumerate(tables, 1):
        label = table.get("name", table.get("id")) if isinstance(table, dict) else None
        where = f"{kind} {number}" + (f" ({label})" if type(label) is str else "")
        found.append(read_fields(where, table, fields, problems))
    return found


def _check_exclude(where: str, plan: Plan, problems: list[str]) -> None:
    """That Init can have goals at all. Kinds of the application are not those of what it does."""
    layers = caps.extend((), tuple(each for each in plan.exclude if not is_of_application(each)))
    for kind, what in NEEDED:
        if not caps.permits(layers, kind, what):
            problems.append(
                f"{where}: exclude refuses the system itself ({kind!r}, {what!r}), so nothing would come up: exclude that of nodes"
            )


def _check_names(plan: Plan, problems: list[str]) -> None:
    names = [node.name for node in plan.nodes]
    for name, count in Counter(names).items():
        if count > 1:
            problems.append(f"{count} nodes are called {name!r}")
    labels = [(plan.runs_on(child), child.id) for child in plan.children] + [(plan.runs_on(each), each.name) for each in plan.unikernels]
    for (node, label), count in Counter(labels).items():
        if count > 1:
            problems.append(f"{count} children of the node {node} are called {label!r}: give each an id of its own")
        if node not in names:
            problems.append(f"{label!r} is to be on the node {node!r}: there are {', '.join(names)}")
    for name, count in Counter(each.name for each in plan.unikernels).items():
        if count > 1:
            problems.append(f"{count} unikernels are called {name!r}")
    for label, own in [(each.name, each.name) for each in plan.unikernels] + [
        (each.id, each.options.get("name")) for each in plan.children
    ]:
        if own in TAKEN:
            problems.append(f"{label!r} has the name {own!r}, as a process that each system has: rename it")


def _starts(plan: Plan) -> list[tuple[str, str, str]]:
    return [("child", each.id, each.start) for each in plan.children] + [("goal", each.name, each.start) for each in plan.goals]


async def _nothing() -> None:
    """Stands for what goals start."""


def _check_goals(plan: Plan, problems: list[str]) -> None:
    """Together with those that each system has."""
    own = [each for each in plan.goals if each.name not in (TREE, UP)]
    problems += [f"a goal is called {each.name!r}, as one that each system has: rename it" for each in plan.goals if each not in own]
    try:
        in_order([Goal(TREE, _nothing, each_node=True), *(each.goal(_nothing) for each in own)])
    except GoalError as error:
        problems += error.problems
    except (TypeError, ValueError) as error:
        problems.append(str(error))


def _read_images(folder: Path, plan: Plan, problems: list[str]) -> dict[str, bytes]:
    """The images of the unikernels, by where they are in the bundle."""
    images: dict[str, bytes] = {}
    for each in plan.unikernels:
        path = folder / each.image
        if path.exists() and not path.is_file():
            problems.append(f"unikernel {each.name!r}: the image {path} is no regular file")
            continue
        try:
            images[image_path(each.name)] = data = path.read_bytes()
            if image_of(data).target == "wasm" and (each.core is not None or each.heartbeat is not None):
                problems.append(f"unikernel {each.name!r}: {path} is for WebAssembly: it has no core of its own, and no heartbeat")
        except OSError as error:
            problems.append(f"unikernel {each.name!r}: the image {path} cannot be read: {error.strerror}")
        except ImageError as error:
            problems.append(f"unikernel {each.name!r}: {path}: {error}")
    return images
