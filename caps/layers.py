"""Layers of exclusions: building them, stacking them, asking them.

Each generation of processes may add one layer to those of its parent, and nothing takes one away. An access is
permitted only if every layer permits it, and a layer permits it if no clause of it refuses. So more terms and more
layers never permit more, and there is no order in which they were given that matters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import RLock
from typing import Any, TypeAlias, final
from weakref import WeakValueDictionary

from caps.errors import CapabilityError
from caps.kinds import Kind, kind_named, kinds
from caps.matching import ALL, EVERYTHING, Cover, Operands

Term: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """All that a layer excludes of one kind, or one only entry for one kind."""

    only: bool
    kind: Kind
    cover: Cover[Any]

    def terms(self) -> list[Term]:
        terms: list[Term] = [(self.kind.name, *operands) for operands in sorted(self.cover.operands, key=order)]
        return [("only", *terms)] if self.only else terms


@final
class Layer:
    """One generation's exclusions. Immutable; made by `layer()`; equal layers are one object, so compare by identity.

    `terms` are the canonical terms, plain tuples: ranges are merged, what another term covers is gone, an `only` with
    several kinds is one for each, all is sorted. `layer(x.terms) is x`, here and, sent there, on any node.
    """

    __slots__ = ("__weakref__", "_clauses", "terms")

    terms: tuple[Term, ...]
    _clauses: dict[str, list[Clause]]

    def __new__(cls) -> Layer:
        raise TypeError("layers are made by caps.layer(terms)")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Layer is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Layer is immutable: cannot delete {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return layer, (self.terms,)  # a copy is the layer itself

    def __repr__(self) -> str:
        return f"layer([{', '.join(map(show, self.terms))}])"


Layers: TypeAlias = tuple[Layer, ...]
"""Oldest first; `()` is unrestricted."""

_interned: WeakValueDictionary[frozenset[Clause], Layer] = WeakValueDictionary()
_interning = RLock()  # taken again if a collection in the middle runs a __del__ that builds a layer


def layer(terms: Iterable[Term]) -> Layer:
    """The layer of these exclusions.

    A term is `(kind, *operands)`, and refuses every access of its kind that it overlaps; `(kind, "all")` refuses them
    all. `("only", term, …)` permits, of the kinds that the terms inside name, nothing but what these together contain;
    other kinds are untouched. Each only entry stands for itself: with several, what is permitted must be in each. Exclusions
    hold beside them. The operands of each kind are in the table in kinds.py.

    Raises:
        TypeError, ValueError: a term is not one; the message names it and what was expected.
    """
    excluded: dict[Kind, set[Operands]] = {}
    clauses: set[Clause] = set()
    for term in each(terms):
        if term[0] == "only":
            permitted: dict[Kind, set[Operands]] = {}
            if len(term) == 1:
                raise ValueError("('only',) permits nothing of no kind: expected ('only', term, …)")
            for inner in each(term[1:]):
                kind, operands = parsed(inner)
                permitted.setdefault(kind, set()).add(operands)
            clauses.update(Clause(True, kind, cover(kind, operands)) for kind, operands in permitted.items())
        else:
            kind, operands = parsed(term)
            excluded.setdefault(kind, set()).add(operands)
    clauses.update(Clause(False, kind, cover(kind, operands)) for kind, operands in excluded.items())
    return interned(frozenset(clauses))


def extend(layers: Layers, terms: Iterable[Term]) -> Layers:
    """The layers and one more, of these terms; the same object if that adds nothing: no terms, or a layer already there.

    There is no way to take one off (C2). Raises as `layer` does.
    """
    if terms == ():
        return layers  # what almost every spawn says
    added = layer(terms)
    return layers if not added.terms or added in layers else (*layers, added)


def permits(layers: Layers, kind: str, *what: Any) -> bool:
    """Whether every layer permits the access (C1). For the operands of each kind see the table in kinds.py.

    Raises:
        ValueError: there is no such kind; or, if there are layers, the operands are not those of such an access.
        TypeError: likewise, of an operand's type.
    """
    return refusal(layers, kind, what) is None


def require(layers: Layers, kind: str, *what: Any) -> None:
    """Raise CapabilityError unless every layer permits the access. Raises as `permits` does besides."""
    refused = refusal(layers, kind, what)
    if refused is not None:
        raise error(layers, kind, what, *refused)


def refusal(layers: Layers, kind: str, what: Operands) -> tuple[int, Term] | None:
    """The first layer, counted from 1, that refuses the access and its term that does; None if it is permitted."""
    row = kinds.get(kind) or kind_named(kind)
    if not layers:
        return None
    try:
        access = row.matching.access(what)
    except (TypeError, ValueError) as why:
        expected = ", ".join(filter(None, [repr(row.name), row.matching.expected_access]))
        raise type(why)(f"{(kind, *what)!r} is not an access: {why}; expected ({expected})") from why
    for position, each_layer in enumerate(layers, 1):
        for clause in each_layer._clauses.get(row.name, ()):
            # Written out here and not a method of Clause: this is the hot path (C9).
            if clause.only:
                if not clause.cover.contains(access):
                    return position, clause.terms()[0]
            elif (operands := clause.cover.overlaps(access)) is not None:
                return position, (row.name, *operands)
    return None


def error(layers: Layers, kind: str, what: Operands, position: int, term: Term) -> CapabilityError:
    """The error for what `refusal` found."""
    access = ", ".join([repr(kind), *map(kind_named(kind).matching.show, what)])
    message = f"({access}) is refused by the exclusion {show(term)} in layer {position} of {len(layers)} (1 is the oldest)"
    return CapabilityError(kind, what, term, message)


def each(terms: Iterable[Term]) -> Iterable[Term]:
    expected = "expected an iterable of terms, tuples such as ('port_io', 0x60, 0x65)"
    if isinstance(terms, (str, bytes)) or not isinstance(terms, Iterable):
        raise TypeError(f"{terms!r} are no exclusions: {expected}")
    for term in terms:
        if not isinstance(term, tuple) or not term:
            hint = f"; did you mean the one term {terms!r}?" if isinstance(terms, tuple) and isinstance(term, str) else ""
            raise TypeError(f"{term!r} is not an exclusion: {expected}{hint}")
        yield term


def parsed(term: Term) -> tuple[Kind, Operands]:
    """The kind and the canonical operands of a term that is not an only entry."""
    if term[0] == "only":
        raise ValueError(f"{term!r} stands inside another only entry: expected a term without 'only'")
    try:
        kind = kind_named(term[0])
    except (TypeError, ValueError) as why:
        raise type(why)(f"{term!r} is not an exclusion: {why}") from why
    if term[1:] == ALL:
        return kind, ALL
    try:
        return kind, kind.matching.term(term[1:])
    except (TypeError, ValueError) as why:
        expected = f"({kind.name!r}, {kind.matching.expected_term})"
        raise type(why)(f"{term!r} is not an exclusion: {why}; expected {expected} or ({kind.name!r}, 'all')") from why


def cover(kind: Kind, operands: set[Operands]) -> Cover[Any]:
    return EVERYTHING if ALL in operands else kind.matching.cover(frozenset(operands))


def interned(clauses: frozenset[Clause]) -> Layer:
    """The one layer of these clauses."""
    made: Layer = object.__new__(Layer)
    by_kind: dict[str, list[Clause]] = {}
    for clause in clauses:
        by_kind.setdefault(clause.kind.name, []).append(clause)
    terms = tuple(sorted((term for clause in clauses for term in clause.terms()), key=lambda term: (term[0] == "only", order(term))))
    object.__setattr__(made, "_clauses", by_kind)
    object.__setattr__(made, "terms", terms)
    with _interning:
        return _interned.setdefault(clauses, made)


def order(value: object) -> tuple[Any, ...]:
    """A sort key for plain values of mixed types. Opaque ones go by their repr; identity does not depend on the order."""
    match value:
        case None:
            return (0,)
        case int():
            return (1, value)
        case str():
            return (2, value)
        case tuple():
            return (3, tuple(map(order, value)))
        case _:
            return (4, type(value).__qualname__, repr(value))


def show(term: Term) -> str:
    """A term in a message, numbers as is usual for its kind."""
    if term[0] == "only":
        return f"('only', {', '.join(map(show, term[1:]))})"
    return f"({', '.join([repr(term[0]), *map(kind_named(term[0]).matching.show, term[1:])])})"
