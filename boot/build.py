"""`beamlike build-unikernel`."""

from __future__ import annotations

import json
import sys

import click

from beamlike import application
from boot import tables
from boot.attach import as_json_option, fail
from unikernels import BuildError, Built, build

DRIVERS = ("console", "random", "rtc", "speaker")
MOST_SHOWN = 12  # functions of an image, the largest


@click.command("build-unikernel")
@click.argument("sources", metavar="FILE.c...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--target",
    type=click.Choice(["linux", "bare", "wasm"]),
    default="linux",
    show_default=True,
    help="An OS process, a machine of its own (QEMU), or a cell of WebAssembly.",
)
@click.option("--output", "-o", metavar="FILE", type=click.Path(dir_okay=False), help="What to write.  [default: FILE.elf, .bare, .wasm]")
@click.option("--profile", metavar="GROUP,...", help=f"For bare: the driver groups that it may use: {', '.join(DRIVERS)}.  [default: all]")
@click.option("--flag", "flags", metavar="FLAG", multiple=True, help="One more for the compiler: --flag=-g, --flag=-DNAME=1.")
@click.option("--symbols", is_flag=True, help="Leave the names in it, for a debugger.")
@as_json_option
def build_unikernel(
    sources: tuple[str, ...], target: str, output: str | None, profile: str | None, flags: tuple[str, ...], symbols: bool, as_json: bool
) -> None:
    """Build a C program into a unikernel, and show what is in it and what was left out.

    The compiler is gcc, for wasm clang. Of its library a program gets what it uses; --json lists all of that.
    """
    groups = None if profile is None else [each.strip() for each in profile.split(",") if each.strip()]
    try:
        built = build(sources, target, output, profile=groups, flags=flags, symbols=symbols)  # type: ignore[arg-type]  # click has checked the target
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except (OSError, ValueError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(application.INTERRUPTED)
    print(built.warnings, end="", file=sys.stderr)
    if as_json:
        print(json.dumps({**built._asdict(), "path": str(built.path), "linked": [each._asdict() for each in built.linked]}))
    else:
        _show(built)


def _show(built: Built) -> None:
    console = tables.console()
    sizes = built.sizes
    console.print(f"{built.path}: {sizes['profile']:,} bytes for {built.target}", style="bold")
    if built.linked:
        largest = ", ".join(f"{name} {size:,}" for name, size in built.linked[:MOST_SHOWN])
        more = f", and {len(built.linked) - MOST_SHOWN} more" if len(built.linked) > MOST_SHOWN else ""
        console.print(f"linked     {len(built.linked)}: {largest}{more}", soft_wrap=True)
    console.print(f"collected  {len(built.collected)}: {', '.join(built.collected)}", soft_wrap=True)
    console.print(
        f"sizes      base {sizes['base']:,} (the library with an empty program), profile {sizes['profile']:,} (this), "
        f"all {sizes['all']:,} (nothing collected)",
        soft_wrap=True,
    )
