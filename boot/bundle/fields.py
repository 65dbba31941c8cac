"""How the tables of a plan are read: each key has a check, and what is wrong is told with all else that is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import caps
from nodes.seam import MOST_CORES

REQUIRED = object()
KEYS_BESIDE = frozenset(("id", "restart", "shutdown", "exclude", "node"))


class PlanError(ValueError):
    """A plan cannot be. `problems` has all that is wrong with it, a text each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class Field:
    """A key of a table.

    Args:
        check: whether a value can be one; or it raises TypeError or ValueError, which says what it is not.
        expected: what it says then.
        default: REQUIRED if there is none.
    """

    check: Callable[[Any], bool]
    expected: str
    default: Any = REQUIRED


def read_fields(where: str, table: Any, fields: Mapping[str, Field], problems: list[str]) -> dict[str, Any]:
    """The values of a table; what is wrong is added to `problems`, and has its default, or None."""
    if not isinstance(table, dict):
        problems.append(f"{where} is {table!r:.60}, expected a table")
        table = {}
    for key in table:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            problems.append(f"{where} has no key {key!r}: " + (f"is it {close[0]!r}?" if close else f"there are {', '.join(fields)}"))
    values = {}
    for key, field in fields.items():
        value = table.get(key, field.default)
        if value is REQUIRED:
            problems.append(f"{where} lacks {key!r}: {field.expected}")
        elif key in table and (problem := _problem(field, value)):
            problems.append(f"{where}: {key} is {value!r:.60}, {problem}")
            value = field.default
        values[key] = None if value is REQUIRED else value
    return values


def _problem(field: Field, value: Any) -> str:
    """What is wrong with it; an empty text if nothing is."""
    try:
        return "" if field.check(value) else f"expected {field.expected}"
    except (TypeError, ValueError) as error:
        return str(error)


def is_text(value: Any) -> bool:
    """A str."""
    return type(value) is str


def is_seconds(value: Any) -> bool:
    """A number, 0 or more."""
    return type(value) in (int, float) and 0 <= value < float("inf")


def is_positive(value: Any) -> bool:
    """A number of seconds, more than 0."""
    return is_seconds(value) and value > 0


def is_count(value: Any) -> bool:
    """An int, 1 or more."""
    return type(value) is int and value > 0


def is_number(value: Any) -> bool:
    """An int, 0 or more."""
    return type(value) is int and value >= 0


def is_core(value: Any) -> bool:
    """The number of one that a machine may have."""
    return is_number(value) and value < MOST_CORES


def is_flag(value: Any) -> bool:
    """A bool."""
    return type(value) is bool


def is_names(value: Any) -> bool:
    """Texts, each once."""
    return type(value) is list and all(type(each) is str for each in value) and len(set(value)) == len(value)


def is_plain(value: Any) -> bool:
    """What is no date: those have no place in a message."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    return type(value) in (str, int, float, bool)


def is_array(value: Any) -> bool:
    """An array of such values."""
    return type(value) is list and is_plain(value)


def is_options(value: Any) -> bool:
    """A table of such values, without what a plan says in keys of its own. Raises: ValueError."""
    if type(value) is not dict or not is_plain(value):
        return False
    for key in KEYS_BESIDE & value.keys():
        raise ValueError(f"expected no {key!r} in it: that is a key beside it")
    return True


def is_tables(value: Any) -> bool:
    """An array of tables."""
    return type(value) is list


def matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """A text of this form."""
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def is_exclude(value: Any) -> bool:
    """Exclusions. Those of an application's kinds, `module:function`, are checked where that module is. Raises as `caps.layer`."""
    if not is_array(value) or not all(type(each) is list and each and type(each[0]) is str for each in value):
        return False
    caps.layer(_as_term(each) for each in value if not is_of_application(each))
    return True


def _as_term(term: Any) -> Any:
    return tuple(map(_as_term, term)) if isinstance(term, list) else term


def is_of_application(term: Sequence[Any]) -> bool:
    """Whether an exclusion has kinds of an application's own."""
    kinds = [each[0] for each in term[1:] if isinstance(each, list | tuple) and each] if term[0] == "only" else term[:1]
    return any(type(kind) is str and ":" in kind for kind in kinds)


def one_of(*words: str) -> Callable[[Any], bool]:
    """One of these."""
    return lambda value: type(value) is str and value in words
