"""What the tests of drivers share: `Play`, the type of the fixture `play`."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.qemu import QEMU

Check = Callable[[Any], Awaitable[Any]]
Play = Callable[..., Any]

needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason="no QEMU: apt-get install qemu-system-x86 seabios")
