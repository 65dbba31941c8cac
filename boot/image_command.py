"""`beamlike image`: builds an image of a plan, and says what is in one."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from boot import tables
from boot.attach import FAILED, as_json_option, fail
from boot.bundle.archive import Bundle, pack_bundle, read_bundle
from boot.bundle.fields import PlanError
from boot.bundle.plan import ChildPlan, Plan, UnikernelPlan
from boot.bundle.reading import read_plan
from boot.errors import BootError
from boot.guest.layout import SECTOR
from boot.image import Image, build_image, read_image

SIGNATURE = b"\x55\xaa"  # at the end of a first sector that boots
LARGEST = 1 << 30  # bytes of a file that is taken for an image


@click.group()
def image() -> None:
    """Build an image that `beamlike boot` boots, or look into one."""


@image.command("build")
@click.argument("plan_path", metavar="PLAN.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", "-o", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="What to write.  [default: PLAN.img]")
@as_json_option
def build(plan_path: Path, output: Path | None, as_json: bool) -> None:
    """Pack the modules, the trees, the init goals and the unikernels that a plan names into a bootable image.

    The plan is checked first, without running anything of it: all that is wrong with its form is told, then all that is with what it names.
    The same plan gives the same bytes.
    """
    output = output or plan_path.with_suffix(".img")
    begin = time.monotonic()
    try:
        plan, files = read_plan(plan_path)
        payload = pack_bundle(plan, files)
        data = build_image(payload)
        _write(output, data)
    except PlanError as error:
        for problem in error.problems:
            print(f"beamlike: {problem}", file=sys.stderr)
        sys.exit(FAILED)
    except (OSError, ValueError) as error:
        fail(str(error))
    seconds = time.monotonic() - begin
    if as_json:
        print(json.dumps({"path": str(output), "bytes": len(data), "payload": len(payload), "seconds": seconds, "plan": plan.as_json()}))
    else:
        print(f"{output}: {len(data):,} bytes, of which {len(payload):,} are the bundle; {seconds:.2f} s")
        print(f"{plan.name}: {_counts(plan, read_bundle(payload))}")


def _write(output: Path, data: bytes) -> None:
    """Whole, or not at all."""
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for {output.name}: make it, or choose another --output")
    if output.exists() and not output.is_file():  # a rename would put the image in the place of /dev/null
        raise ValueError(f"{output} is no regular file: choose another --output")
    if output.exists() and not _may_replace(output):  # as what the plan packs
        raise ValueError(f"{output} is there, and is no image: choose another --output, or remove it")
    fresh = output.with_name(f".{output.name}.{os.getpid()}.new")
    try:
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(output)
    finally:
        fresh.unlink(missing_ok=True)


def _may_replace(output: Path) -> bool:
    with open(output, "rb") as file:
        begin = file.read(SECTOR)
    return not begin or begin.endswith(SIGNATURE)


@image.command("inspect")
@click.argument("path", metavar="IMAGE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json_option
def inspect(path: Path, as_json: bool) -> None:
    """Check all of an image, and show what is in it. The status is 1 if it would not boot."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            fail(f"{path} has {path.stat().st_size:,} bytes, expected an image: a regular file of at most {LARGEST:,}")
        found = read_image(path.read_bytes())
        bundle = read_bundle(found.payload)
    except BootError as error:
        fail(f"{path}: {error}")
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    if as_json:
        print(json.dumps(_as_json(path, found, bundle)))
    else:
        _show(tables.console(), path, found, bundle)


def _as_json(path: Path, found: Image, bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(path),
        "manifest": {**vars(found.manifest), "is_copy": found.has_bad_manifest},
        "made_by": {"beamlike": bundle.made_by[0], "python": bundle.made_by[1]},
        "files": dict(bundle.sizes),
        "plan": bundle.plan.as_json(),
    }


def _show(console: Console, path: Path, found: Image, bundle: Bundle) -> None:
    manifest, plan = found.manifest, bundle.plan
    print_ = partial(console.print, markup=False)  # names of files may have brackets
    state = "which boots by the copy of its manifest, for that is damaged: build it anew" if found.has_bad_manifest else "all of it good"
    print_(
        f"{path}: {manifest.image_sectors * SECTOR:,} bytes, {state}", style="yellow" if found.has_bad_manifest else "bold", soft_wrap=True
    )
    print_(
        f"payload   {manifest.payload_bytes:,} bytes from LBA {manifest.payload_lba}, in {manifest.chunks} chunks, "
        f"checksum {manifest.payload_crc:08x}, to {manifest.load_address:#x}",
        soft_wrap=True,
    )
    print_(f"made by   beamlike {bundle.made_by[0]}, Python {bundle.made_by[1]}")
    print_(f"system    {plan.name}: {_counts(plan, bundle)}", soft_wrap=True)
    _show_exclude(console, "          ", plan.exclude)
    for node in plan.nodes:
        core = "any core" if node.core is None else f"core {node.core}"
        print_(f"node      {node.name}, {core}", soft_wrap=True)
        _show_exclude(console, "          ", node.exclude)
        each: list[UnikernelPlan | ChildPlan] = [*plan.unikernels, *plan.children]
        for one in each:
            if plan.runs_on(one) == node.name:
                print_(Text(f"            {_line(one, bundle)}"), soft_wrap=True)
                _show_exclude(console, "              ", one.exclude)
    for goal in plan.goals:
        needs = [f"{verb} {', '.join(names)}" for verb, names in (("requires", goal.requires), ("wants", goal.wants)) if names]
        flags = ["on each node"] * goal.each_node + ["only at the first boot"] * goal.only_first_boot
        print_(Text(f"goal      {'; '.join([f'{goal.name}  {_call(goal.start, goal.args)}', *needs, *flags])}"), soft_wrap=True)
        _show_exclude(console, "          ", goal.exclude)
    for name in bundle.files:
        print_(f"file      {name}, {bundle.sizes[name]:,} bytes", soft_wrap=True)


def _show_exclude(console: Console, indent: str, terms: Iterable[Any]) -> None:
    for term in terms:
        console.print(Text(f"{indent}excluded  {' '.join(map(str, term))}", "dim"), soft_wrap=True)


def _line(each: ChildPlan | UnikernelPlan, bundle: Bundle) -> str:
    if isinstance(each, ChildPlan):
        return f"{each.id}  {_call(each.start, each.args)}, {each.restart}"
    core = "" if each.core is None else f", core {each.core}"
    return f"{each.name}  unikernel of {bundle.sizes.get(each.image, 0):,} bytes{core}, {each.restart}"


def _call(start: str, args: tuple[Any, ...]) -> str:
    return f"{start}({', '.join(map(repr, args))})"


def _counts(plan: Plan, bundle: Bundle) -> str:
    counted = (
        (len(bundle.files), "file"),
        (len(plan.nodes), "node"),
        (len(plan.children), "child"),
        (len(plan.unikernels), "unikernel"),
        (len(plan.goals), "goal"),
    )
    return ", ".join(f"{count} {name if count == 1 else {'child': 'children'}.get(name, name + 's')}" for count, name in counted)
