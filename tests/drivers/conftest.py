"""The same tests on the port bus's models and on QEMU's devices, which are accessed by QEMU and by a processor of its own."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from machines import BOTH, Check, Play

from beamlike import run
from drivers import IoServer, PortBus, Qemu

MACHINES = {"qemu": Qemu, "io_server": IoServer}


@pytest.fixture(params=BOTH)
def play(request: pytest.FixtureRequest) -> Play:
    """`play(check, models, qemu=["-device", …], channels=[…])`: what `check(io)` returns, in a process, with such a machine.

    A model is a tuple, `("pit",)`, as of `PortBus.plug`, or a class of `drivers/models`, of which the check finds the one that was made
    under the class: `io.models[UartModel]`. A module or test that is about other machines says so: `machines.on(…)`.
    """

    def play(check: Check, models: list[Any], qemu: list[str] | None = None, **options: Any) -> Any:
        async def on_portbus() -> Any:
            bus = PortBus()
            for each in models:
                if isinstance(each, tuple):
                    bus.plug(*each)
                else:
                    bus.models[each] = each(bus)
            return await check(bus)

        async def on_qemu() -> Any:
            with closing(await MACHINES[request.param].start(*(qemu or []), **options)) as machine:
                return await check(machine)

        return run(on_portbus if request.param == "portbus" else on_qemu)

    return play
