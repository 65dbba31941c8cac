"""The kinds of devices: what an owner may ask for, how one is brought up, what an interrupt brings."""

from __future__ import annotations

from typing import Final

from drivers.devices.pit import Mode, Pit
from drivers.servers.device import Kind


async def _begin_timer(pit: Pit) -> None:
    pit.start(0, Mode.TERMINAL_COUNT, 65536)


async def _timer_interrupted(pit: Pit) -> list[str]:
    return ["tick"]


TIMER: Final = Kind("timer", frozenset({"start", "start_periodic", "read", "status"}), _begin_timer, _timer_interrupted)
