"""What the tests of drivers share: on which machines they run."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.qemu import QEMU

Check = Callable[[Any], Awaitable[Any]]
Play = Callable[..., Any]

needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason="no QEMU: apt-get install qemu-system-x86 seabios")


def machines(*names: str) -> list[Any]:
    """Parameters of the fixture `play`."""
    return [name if name == "portbus" else pytest.param(name, marks=needs_qemu) for name in names]


BOTH = machines("portbus", "qemu")


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these machines: "portbus"; "qemu", whose devices QEMU accesses; "io_server", where its processor does."""
    return pytest.mark.parametrize("play", machines(*names), indirect=True)


everywhere = on("portbus", "qemu", "io_server")
