"""Cores of QEMU's that die, under a firmware that nobody here wrote."""

from __future__ import annotations

import pytest
from attempts import PAYLOAD, boot
from machines import needs_qemu
from mortal_qemu import MortalQemu

from boot.engines.qemu import Device
from boot.errors import NoSlaveCoreError
from boot.guest.layout import Kind
from boot.image import build_image

pytestmark = needs_qemu
BETWEEN, INSIDE = 10, 11
LARGE = 8 * PAYLOAD  # it is not over before the core is dead


@pytest.mark.parametrize("records", [BETWEEN, INSIDE])
@pytest.mark.parametrize("device", [Device.AHCI, Device.IDE])
def test_a_dead_slave_is_replaced(device: Device, records: int) -> None:
    machine = MortalQemu(records, cores=3, memory=16, device=device)
    booted = boot(machine, build_image(LARGE))
    assert machine.failure is None
    assert booted.payload == LARGE
    assert (booted.info.dead_cores, booted.info.failovers, booted.info.slave) == ([1], 1, 2)
    assert [event.core for event in booted.of(Kind.CAME)] == [1, 2]


def test_without_another_core_the_boot_fails() -> None:
    machine = MortalQemu(INSIDE, memory=16)
    with pytest.raises(NoSlaveCoreError, match="no core is left that could read; dead are 1"):
        boot(machine, build_image(LARGE))
    assert machine.failure is None
