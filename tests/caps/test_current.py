"""C9: check asks nobody but the hook, and looks at nothing but the kind for an unrestricted process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import caps


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    caps.set_current_layers(lambda: ())


def test_without_a_hook_everybody_is_unrestricted() -> None:
    caps.check("port_io", 0x60, 1)
    caps.check("ffi")


def test_check_goes_by_the_layers_current_at_the_moment() -> None:
    current: caps.Layers = ()
    caps.set_current_layers(lambda: current)
    caps.check("port_io", 0x60, 1)
    current = caps.extend((), [("port_io", 0x60, 0x65)])
    caps.check("port_io", 0x65, 1)
    with pytest.raises(caps.CapabilityError) as caught:
        caps.check("port_io", 0x5D, 4)
    assert caught.value.exclusion == ("port_io", 0x60, 0x65)
    current = ()
    caps.check("port_io", 0x60, 1)


def test_c9_check_asks_the_hook_once() -> None:
    asked = []

    def hook() -> caps.Layers:
        asked.append(1)
        return caps.extend((), [("ffi", "all")])

    caps.set_current_layers(hook)
    caps.check("port_io", 0x60, 1)
    assert asked == [1]


def test_c9_the_operands_are_not_looked_at_for_an_unrestricted_process_but_the_kind_is() -> None:
    caps.check("port_io", object())
    with pytest.raises(ValueError, match="unknown kind of capability 'prot_io'"):
        caps.check("prot_io", 0x60, 1)


def test_a_failing_hook_permits_nothing() -> None:
    def hook() -> caps.Layers:
        raise RuntimeError("no process")

    caps.set_current_layers(hook)
    with pytest.raises(RuntimeError, match="no process"):
        caps.check("port_io", 0x60, 1)


def test_a_hook_that_cannot_be_called_is_a_type_error_and_the_old_one_stays() -> None:
    caps.set_current_layers(lambda: caps.extend((), [("ffi", "all")]))
    with pytest.raises(TypeError, match="a function that returns the current layers"):
        caps.set_current_layers(())  # type: ignore[arg-type]
    with pytest.raises(caps.CapabilityError):
        caps.check("ffi")
