"""An application's module with a capability of its own, for test_application.py, which imports it by name."""

import caps


def table(term: tuple[str], what: tuple[str]) -> bool:
    return term == what


def subtree(term: tuple[int, int], what: tuple[int, int]) -> bool:
    return term[0] < what[1] and what[0] < term[1]


def holds(term: tuple[int, int], what: tuple[int, int]) -> bool:
    return term[0] <= what[0] and what[1] <= term[1]


def undefined(term: tuple[str], what: tuple[str]) -> bool:
    return True


TABLE = caps.define(table)
SUBTREE = caps.define(subtree, contains=holds)
