"""What layers refuse, as ranges: for who checks accesses by other means than `check`, such as the C of port I/O."""

from __future__ import annotations

from caps.kinds import kind_named
from caps.layers import Layers
from caps.ranges import Range, Ranges, merged


def refused_ranges(layers: Layers, kind: str) -> tuple[Range, ...]:
    """All that these layers refuse of a kind whose operands are ranges (`port_io`, `raw_memory`): half-open, disjoint, ascending.

    An access is permitted exactly if it overlaps none of them, that of an only entry included: what the entry does not contain is refused.

    Raises: ValueError if there is no such kind, or its operands are no ranges.
    """
    row = kind_named(kind)
    matching = row.matching
    if not isinstance(matching, Ranges):
        raise ValueError(f"refused_ranges is about kinds whose operands are ranges of numbers, and {kind!r} is not one")
    found: list[Range] = []
    for layer in layers:
        for clause in layer._clauses.get(row.name, ()):
            ranges = matching.ranges_of(clause.cover)
            found += matching.rest_of(ranges) if clause.only else ranges
    return tuple(merged(found))
