"""The laws of layers, against models that are too simple to be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import caps

Term = tuple[Any, ...]

LIMIT = 24  # the model of port_io looks at ports below this only
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a!", "/b", "/a/../b", "//a/./b"]
NAMES = ["x", "y", "z"]
HOSTS = ["a.org", "A.ORG.", "b.org", "::1", "0::1"]

numbers = st.integers(0, LIMIT)
modes = st.sampled_from(["r", "w", "rw"])
hosts = st.sampled_from([*HOSTS, None])
ports = st.sampled_from([80, 443, None])

ranges = st.tuples(numbers, numbers).filter(lambda ends: ends[0] < ends[1])
simple_terms = st.one_of(
    ranges.map(lambda ends: ("port_io", *ends)),
    st.just(("port_io", "all")),
    st.tuples(st.just("device"), st.sampled_from([*NAMES, "all"])),
    st.tuples(st.just("send"), st.one_of(st.sampled_from([*NAMES, None]), st.integers(0, 2), st.tuples(st.sampled_from(NAMES)))),
    st.tuples(st.just("file"), st.sampled_from(PATHS), modes),
    st.tuples(st.just("net"), hosts, ports),
    st.just(("ffi", "all")),
)
only_terms = st.lists(simple_terms, min_size=1, max_size=4).map(lambda terms: ("only", *terms))
term_lists = st.lists(st.one_of(simple_terms, simple_terms, only_terms), max_size=6)
stacks = st.lists(term_lists, max_size=4)
accesses = st.one_of(
    st.tuples(st.just("port_io"), st.integers(0, LIMIT - 1), st.sampled_from([1, 2, 4, 8])),
    st.tuples(st.just("device"), st.sampled_from(NAMES)),
    st.lists(st.one_of(st.sampled_from([*NAMES, None]), st.integers(0, 2), st.tuples(st.sampled_from(NAMES))), min_size=1, max_size=3).map(
        lambda targets: ("send", *targets)
    ),
    st.tuples(st.just("file"), st.sampled_from(PATHS), modes),
    st.tuples(st.just("net"), st.sampled_from(HOSTS), st.sampled_from([80, 443])),
    st.just(("ffi",)),
)


# The model: an access and a term are sets of points, spelled out; several terms together are the union.


def components(path: str) -> list[str]:
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return kept


def host(name: str) -> str:
    return {"A.ORG.": "a.org", "0::1": "::1"}.get(name, name)


def points(access: Term) -> set[Any]:
    match access:
        case ("port_io", port, width):
            return set(range(port, port + width))
        case ("file", path, mode):
            return {(path, letter) for letter in mode}
        case ("net", name, port):
            return {(name, port)}
        case (_, *operands):
            return {tuple(operands)}
    raise AssertionError(access)


def covers(term: Term, point: Any) -> bool:
    match term:
        case (_, "all"):
            return True
        case ("port_io", start, end):
            return bool(start <= point < end)
        case ("file", path, mode):
            above = components(path)
            return point[1] in mode and components(point[0])[: len(above)] == above
        case ("net", name, port):
            return (name is None or host(name) == host(point[0])) and port in (None, point[1])
        case ("send", target):
            return target in point
        case (_, name):
            return bool((name,) == point)
    raise AssertionError(term)


def term_permits(term: Term, access: Term) -> bool:
    if term[0] != "only":
        return term[0] != access[0] or not any(covers(term, point) for point in points(access))
    inside = [inner for inner in term[1:] if inner[0] == access[0]]
    return not inside or all(any(covers(inner, point) for inner in inside) for point in points(access))


def stack(lists: list[list[Term]]) -> caps.Layers:
    layers: caps.Layers = ()
    for terms in lists:
        layers = caps.extend(layers, terms)
    return layers


@given(stacks, accesses)
def test_c1_layers_permit_exactly_what_each_raw_term_permits(lists: list[list[Term]], access: Term) -> None:
    expected = all(term_permits(term, access) for terms in lists for term in terms)
    assert caps.permits(stack(lists), *access) == expected


@given(stacks, accesses)
def test_c9_a_check_that_was_made_before_says_what_it_said_and_what_permits_says(lists: list[list[Term]], access: Term) -> None:
    layers = stack(lists)
    caps.set_current_layers(lambda: layers)
    try:
        assert [checks(access), checks(access)] == [caps.permits(layers, *access)] * 2
    finally:
        caps.set_current_layers(lambda: ())


def checks(access: Term) -> bool:
    try:
        caps.check(*access)
    except caps.CapabilityError:
        return False
    return True


@given(st.lists(ranges, min_size=1, max_size=5), st.integers(0, LIMIT - 1), st.integers(1, LIMIT))
def test_ranges_overlap_and_contain_as_sets_of_integers_do(given_ranges: list[tuple[int, int]], start: int, length: int) -> None:
    covered = {number for first, end in given_ranges for number in range(first, end)}
    access = set(range(start, start + length))
    terms = [("raw_memory", *ends) for ends in given_ranges]
    assert caps.permits(caps.extend((), terms), "raw_memory", start, length) == access.isdisjoint(covered)
    assert caps.permits(caps.extend((), [("only", *terms)]), "raw_memory", start, length) == (access <= covered)


@given(term_lists, term_lists, accesses)
def test_c2_more_terms_in_a_layer_never_permit_more(terms: list[Term], more: list[Term], access: Term) -> None:
    if caps.permits((caps.layer(terms + more),), *access):
        assert caps.permits((caps.layer(terms),), *access)


@given(stacks, term_lists, accesses)
def test_c2_more_layers_never_permit_more(lists: list[list[Term]], more: list[Term], access: Term) -> None:
    layers = stack(lists)
    if caps.permits(caps.extend(layers, more), *access):
        assert caps.permits(layers, *access)


@given(stacks, term_lists)
def test_c2_extend_keeps_every_older_layer_in_its_place(lists: list[list[Term]], more: list[Term]) -> None:
    older = stack(lists)
    younger = caps.extend(older, more)
    assert younger[: len(older)] == older
    assert len(younger) <= len(older) + 1
    assert not more or caps.layer(more) in younger


@given(term_lists)
def test_a_layer_is_rebuilt_from_its_terms_as_the_same_object(terms: list[Term]) -> None:
    layer = caps.layer(terms)
    assert caps.layer(layer.terms) is layer


@given(term_lists, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_terms_makes_a_different_layer(terms: list[Term], random: Any) -> None:
    shuffled = terms + terms[:2]
    random.shuffle(shuffled)
    assert caps.layer(shuffled) is caps.layer(terms)


@given(stacks, accesses)
def test_the_error_names_a_canonical_term_of_a_layer_that_refuses(lists: list[list[Term]], access: Term) -> None:
    layers = stack(lists)
    if caps.permits(layers, *access):
        caps.require(layers, *access)
        return
    with pytest.raises(caps.CapabilityError) as caught:
        caps.require(layers, *access)
    assert not term_permits(caught.value.exclusion, access)
    assert any(caught.value.exclusion in layer.terms for layer in layers)
