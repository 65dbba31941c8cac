"""C1, C2: layers only ever add, and equal ones are one object."""

from __future__ import annotations

import copy
import gc
import pickle
from threading import Barrier, Thread
from typing import Any

import pytest

import caps
from caps.layers import _interned

KEYBOARD = ("port_io", 0x60, 0x65)
CLOCK = ("port_io", 0x70, 0x72)


def test_c1_no_layers_permit_everything() -> None:
    assert caps.permits((), "port_io", 0x60, 1)
    caps.require((), "port_io", 0x60, 1)


def test_c1_an_access_is_permitted_only_if_every_layer_permits_it() -> None:
    layers = caps.extend(caps.extend((), [KEYBOARD]), [CLOCK])
    assert not caps.permits(layers, "port_io", 0x60, 1)
    assert not caps.permits(layers, "port_io", 0x70, 1)
    assert caps.permits(layers, "port_io", 0x80, 1)


def test_c2_a_childs_only_entry_gives_back_nothing_that_a_parent_lost() -> None:
    layers = caps.extend(caps.extend((), [KEYBOARD]), [("only", KEYBOARD)])
    assert not caps.permits(layers, "port_io", 0x60, 1)
    assert not caps.permits(layers, "port_io", 0x80, 1)


def test_c2_a_parents_only_entry_does_not_shield_from_a_childs_exclusion() -> None:
    layers = caps.extend(caps.extend((), [("only", KEYBOARD)]), [("port_io", 0x60, 0x61)])
    assert not caps.permits(layers, "port_io", 0x60, 1)
    assert caps.permits(layers, "port_io", 0x61, 1)


def test_exclusions_hold_beside_only_entries_of_the_same_layer() -> None:
    layers = caps.extend((), [("only", KEYBOARD), ("port_io", 0x60, 0x61)])
    assert not caps.permits(layers, "port_io", 0x60, 1)
    assert caps.permits(layers, "port_io", 0x61, 1)
    assert not caps.permits(layers, "port_io", 0x80, 1)


def test_with_several_only_entries_an_access_must_be_in_each() -> None:
    layers = caps.extend((), [("only", ("port_io", 0, 0x68)), ("only", ("port_io", 0x60, 0x80))])
    assert caps.permits(layers, "port_io", 0x64, 4)
    assert not caps.permits(layers, "port_io", 0x50, 1)
    assert not caps.permits(layers, "port_io", 0x66, 4)
    assert not caps.permits(layers, "port_io", 0x70, 1)


def test_one_only_entry_limits_each_kind_that_it_names() -> None:
    layers = caps.extend((), [("only", KEYBOARD, CLOCK, ("device", "disk0"))])
    assert caps.permits(layers, "port_io", 0x60, 1)
    assert caps.permits(layers, "port_io", 0x70, 1)
    assert not caps.permits(layers, "port_io", 0x80, 1)
    assert caps.permits(layers, "device", "disk0")
    assert not caps.permits(layers, "device", "disk1")
    assert caps.permits(layers, "node", "n1@here")


def test_only_all_permits_all_of_its_kind() -> None:
    layers = caps.extend((), [("only", KEYBOARD, ("port_io", "all")), ("only", ("ffi", "all"))])
    assert caps.permits(layers, "port_io", 0, 0x10000)
    assert caps.permits(layers, "ffi")


def test_c2_extend_appends_and_leaves_the_older_layers_as_they_are() -> None:
    older = caps.extend((), [KEYBOARD])
    younger = caps.extend(older, [CLOCK])
    assert younger == (*older, caps.layer([CLOCK]))
    assert older == (caps.layer([KEYBOARD]),)


@pytest.mark.parametrize("nothing", [(), [], iter(())])
def test_extending_by_no_terms_returns_the_same_object(nothing: Any) -> None:
    layers = caps.extend((), [KEYBOARD])
    assert caps.extend(layers, nothing) is layers


def test_extending_by_a_layer_that_is_there_returns_the_same_object() -> None:
    layers = caps.extend(caps.extend((), [KEYBOARD]), [CLOCK])
    assert caps.extend(layers, [("ports", 0x60, 0x62), ("ports", 0x62, 0x65)]) is layers


@pytest.mark.parametrize(
    ("terms", "canonical"),
    [
        ([], ()),
        ([("port_io", 3, 5), ("port_io", 1, 2), ("port_io", 2, 4)], (("port_io", 1, 5),)),
        ([("port_io", 0, 0x8000), ("port_io", 0x8000, 0x10000)], (("port_io", "all"),)),
        ([("port_io", 1, 2), ("port_io", "all")], (("port_io", "all"),)),
        ([("node", "b@m"), ("device", "z"), ("node", "a@m")], (("device", "z"), ("node", "a@m"), ("node", "b@m"))),
        ([("only", ("port_io", 1, 2)), ("raw_memory", 1, 2)], (("raw_memory", 1, 2), ("only", ("port_io", 1, 2)))),
        (
            [("only", ("raw_memory", 1, 2), ("port_io", 1, 2), ("port_io", 2, 3))],
            (("only", ("port_io", 1, 3)), ("only", ("raw_memory", 1, 2))),
        ),
        ([("file", "/a", "r"), ("file", "/a/b", "rw")], (("file", "/a", "r"), ("file", "/a/b", "w"))),
        ([("file", "/a", "w"), ("file", "//a/./", "r")], (("file", "/a", "rw"),)),
        ([("file", "/..", "rw")], (("file", "all"),)),
        ([("net", "A.org.", 80), ("net", "a.org", "all"), ("net", None, 25)], (("net", None, 25), ("net", "a.org", None))),
        ([("net", "all", None)], (("net", "all"),)),
        (
            [("send", "b"), ("send", ("b", 1)), ("send", None), ("send", 1)],
            (("send", None), ("send", 1), ("send", "b"), ("send", ("b", 1))),
        ),
    ],
)
def test_the_canonical_terms_are_merged_and_sorted(terms: list[Any], canonical: tuple[Any, ...]) -> None:
    layer = caps.layer(terms)
    assert layer.terms == canonical
    assert caps.layer(reversed(terms)) is layer
    assert caps.layer(layer.terms) is layer


def test_equal_layers_are_one_object_also_when_their_values_have_no_order() -> None:
    class Twin:  # equal, and yet with different representations
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Twin)

        def __hash__(self) -> int:
            return 1

    assert caps.layer([("send", Twin()), ("send", "a")]) is caps.layer([("send", "a"), ("send", Twin())])


def test_layers_built_in_several_threads_are_one_object() -> None:
    built: list[caps.Layer] = []
    start = Barrier(8)

    def build() -> None:
        start.wait()
        built.append(caps.layer([("device", "of-several-threads")]))

    threads = [Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 8
    assert len(set(map(id, built))) == 1


def test_a_layer_that_nobody_uses_is_forgotten() -> None:
    gc.collect()
    before = len(_interned)
    layer = caps.layer([("device", "used by nobody else")])
    assert len(_interned) == before + 1
    del layer
    gc.collect()
    assert len(_interned) == before


def test_a_copy_of_a_layer_is_the_layer() -> None:
    layer = caps.layer([KEYBOARD, ("only", CLOCK)])
    assert copy.copy(layer) is copy.deepcopy(layer) is pickle.loads(pickle.dumps(layer)) is layer


def test_a_layer_is_hashable_immutable_and_made_by_layer_only() -> None:
    layer = caps.layer([KEYBOARD])
    assert {layer: 1}[caps.layer([KEYBOARD])] == 1
    with pytest.raises(AttributeError, match="immutable"):
        layer.terms = ()
    with pytest.raises(AttributeError, match="immutable"):
        del layer.terms
    with pytest.raises(TypeError, match=r"caps\.layer"):
        caps.Layer()


def test_the_repr_of_a_layer_rebuilds_it() -> None:
    layer = caps.layer([("raw_memory", 0, 0x200000), ("net", None, 80), ("only", KEYBOARD), ("ffi", "all")])
    assert repr(layer) == ("layer([('ffi', 'all'), ('net', None, 80), ('raw_memory', 0x0, 0x200000), ('only', ('port_io', 0x60, 0x65))])")
    assert eval(repr(layer), {"layer": caps.layer}) is layer


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        (KEYBOARD, "did you mean the one term ('port_io', 96, 101)?"),
        ("port_io", "'port_io' are no exclusions"),
        (7, "7 are no exclusions"),
        (["port_io"], "'port_io' is not an exclusion"),
        ([["port_io", "all"]], "['port_io', 'all'] is not an exclusion"),
        ([()], "() is not an exclusion"),
        ([("only", "port_io", "all")], "did you mean the one term ('port_io', 'all')?"),
        ([("only", ())], "() is not an exclusion"),
    ],
)
def test_what_is_no_term_is_a_type_error_that_names_it(terms: Any, named: str) -> None:
    for call in (lambda: caps.layer(terms), lambda: caps.extend((), terms)):
        with pytest.raises(TypeError) as caught:
            call()
        assert named in str(caught.value)
        assert "expected an iterable of terms" in str(caught.value)


def test_an_only_entry_has_terms_inside_and_no_only_entry() -> None:
    with pytest.raises(ValueError, match="permits nothing of no kind"):
        caps.layer([("only",)])
    with pytest.raises(ValueError, match="inside another only entry"):
        caps.layer([("only", ("only", KEYBOARD))])
