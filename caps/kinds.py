"""The table of kinds, and how applications add to it.

An application's kind is called after its matcher, `module:qualname`. So a term says where its meaning is to be found:
a node that gets one with a kind it does not know imports the module, whose `define` then enters the kind. There
is nothing to register on every node, two applications cannot take the same name, and no built-in kind (they have no
colon) can be redefined. A node that cannot import the module cannot build the layer: ValueError, not a weaker layer.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from caps.application import ApplicationMatching, Matcher
from caps.endpoints import Endpoints
from caps.matching import Matching
from caps.names import FunctionNames, Names, Switch, Targets
from caps.paths import Paths
from caps.ranges import Ranges


class Kind:
    """A row of the table: a kind of access and how it is matched."""

    __slots__ = ("matching", "name")

    def __init__(self, name: str, matching: Matching[Any]) -> None:
        self.name = name
        self.matching = matching


BUILT_IN = [
    Kind("port_io", Ranges(1 << 16, "port", "width")),
    Kind("raw_memory", Ranges(1 << 64, "address", "length")),
    Kind("spawn", FunctionNames("'module:qualname'")),
    Kind("send", Targets()),
    Kind("exit", Targets()),
    Kind("process_info", Targets()),
    Kind("register", Names("name")),
    Kind("file", Paths()),
    Kind("net", Endpoints()),
    Kind("device", Names("name")),
    Kind("node", Names("name")),
    Kind("system", Names("name of the operation")),
    Kind("ffi", Switch()),
    Kind("blocking", Switch()),
]

ALIASES = {"ports": "port_io", "memory": "raw_memory"}
"""HydrOS's code's own spellings (its `system` is a kind's name here too)."""

BUILT_IN_NAMES = frozenset([*(kind.name for kind in BUILT_IN), *ALIASES])

kinds: dict[str, Kind] = {kind.name: kind for kind in BUILT_IN}
kinds.update({alias: kinds[name] for alias, name in ALIASES.items()})


def define(matches: Matcher, contains: Matcher | None = None) -> str:
    """Define a kind of an application's own; returns its name, for use in terms and in `check`.

    `matches(term, what)` gets the operands of an exclusion and those of an access, both tuples without the kind, and
    says whether the exclusion touches the access. For an only entry `contains` says whether the entry holds the whole
    access; leave it out where an access is a single thing, of which no part can be touched. An exception in either
    leaves the check, and the access does not take place. `(kind, "all")` covers everything without asking.

        def table(term, what):
            return term == what

        TABLE = caps.define(table)                       # "shop.storage:table"
        spawn(clerk, exclude=[(TABLE, "salaries")])
        caps.check(TABLE, "salaries")                    # in the clerk: CapabilityError

    Call it at the top of the module of `matches`, so that importing that module defines the kind on other nodes as
    well. A script's matchers carry the script's name, not `__main__`.

    Raises:
        TypeError: a matcher is not a function.
        ValueError: `matches` cannot be found by name (a lambda, a function in a function), or a different function was
            already defined under its name.
    """
    contains = matches if contains is None else contains
    for matcher in (matches, contains):
        if not callable(matcher) or not hasattr(matcher, "__qualname__"):
            raise TypeError(f"define() expects functions (term, what) -> bool, got {matcher!r}")
    if "<" in matches.__qualname__:
        raise ValueError(
            f"{matches.__module__}:{matches.__qualname__} cannot be found by name on other nodes: "
            "define() expects a function from the top of a module"
        )
    name = f"{module_name(matches.__module__)}:{matches.__qualname__}"
    known = kinds.get(name)
    if known is None:
        kinds[name] = Kind(name, ApplicationMatching(matches, contains))
        return name
    assert isinstance(known.matching, ApplicationMatching)  # the only names with a colon
    if not (same(known.matching.overlaps, matches) and same(known.matching.contains, contains)):
        raise ValueError(f"the capability {name!r} is already defined, with a different matcher; rename one of the two functions")
    return name


def all_but(*allowed: str) -> tuple[tuple[str, str], ...]:
    """The exclusions that leave a process only these kinds, of the built-in ones: for one that needs little.

        spawn(clerk, exclude=caps.all_but("send"))

    Kinds of applications are not touched. Raises: ValueError or TypeError for what is no built-in kind.
    """
    for name in allowed:
        if name not in BUILT_IN_NAMES:
            kind_named(name)
            raise ValueError(f"all_but is about the built-in kinds, and {name!r} is an application's")
    left = {kinds[name].name for name in allowed}
    return tuple((kind.name, "all") for kind in BUILT_IN if kind.name not in left)


def kind_named(name: str) -> Kind:
    """The kind of this name or alias; imports the module of an application's kind that is not known yet.

    Raises ValueError if there is none, TypeError if the name is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"a kind of capability is a str, got {name!r}")
    if name not in kinds and ":" in name:
        module = name.partition(":")[0]
        try:
            import_module(module)
        except (Exception, SystemExit) as error:  # whatever the module does: the name may have come from another node
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"unknown kind of capability {name!r}: its module cannot be imported: {why}") from error
    kind = kinds.get(name)
    if kind is None:
        why = "its module was imported and does not define() it" if ":" in name else "known are " + ", ".join(sorted(kinds))
        raise ValueError(f"unknown kind of capability {name!r}: {why}")
    return kind


def module_name(module: str) -> str:
    """The name to import a module by; for a script that of its file, which `__main__` would not be on another node."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:  # python -m
        return str(spec.name)
    return Path(file).stem if file else module


def same(one: Matcher, other: Matcher) -> bool:
    """Whether two functions of one name are one definition: a script's are made twice if somebody imports it as well."""
    return one is other or (hasattr(one, "__code__") and one.__code__ == getattr(other, "__code__", None))
