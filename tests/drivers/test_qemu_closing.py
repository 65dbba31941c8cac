"""Closing a machine of QEMU's."""

from __future__ import annotations

from machines import needs_qemu

from beamlike import run
from drivers import Qemu


@needs_qemu
def test_machines_may_be_closed_before_anybody_else_has_a_turn() -> None:
    async def check() -> None:
        for _ in range(3):
            machine = await Qemu.start()
            machine.inb(0x40)
            machine.close()

    run(check)
