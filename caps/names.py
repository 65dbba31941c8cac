"""Things that a name stands for, matched by equality; and kinds that are refused as a whole or not at all."""

from __future__ import annotations

from typing import TypeAlias

from caps.matching import Cover, Matching, Operands, text

Aliases: TypeAlias = tuple[Operands, ...]
"""All the names of the one thing accessed, each as the operands of a term that would name it."""


class NameCover(Cover[Aliases]):
    """A set of names. A thing that goes by any of them is in it."""

    __slots__ = ()

    def overlaps(self, access: Aliases) -> Operands | None:
        if self.operands.isdisjoint(access):
            return None
        return next(name for name in access if name in self.operands)

    def contains(self, access: Aliases) -> bool:
        return not self.operands.isdisjoint(access)


class Names(Matching[Aliases]):
    """A term and an access are one name, a str."""

    def __init__(self, expected: str) -> None:
        self.expected_term = self.expected_access = expected

    def term(self, operands: Operands) -> Operands:
        if len(operands) != 1:
            raise ValueError(f"{len(operands)} operands instead of 1")
        return (self.name(operands[0]),)

    def access(self, what: Operands) -> Aliases:
        if len(what) == 1 and type(what[0]) is str and what[0]:
            return (what,)
        return (self.term(what),)

    def name(self, value: object) -> str:
        return text(value, "the name")

    def cover(self, operands: frozenset[Operands]) -> Cover[Aliases]:
        return NameCover(operands)


class FunctionNames(Names):
    """Names of functions, as functions travel: `module:qualname`."""

    def access(self, what: Operands) -> Aliases:
        return (self.term(what),)

    def name(self, value: object) -> str:
        name = super().name(value)
        module, _, qualname = name.partition(":")
        if not module or not qualname:
            raise ValueError(f"{name!r} is not of the form 'module:qualname'")
        return name


class Targets(Matching[Aliases]):
    """Whom a message is sent to, an exit signal, a question: a pid, a registered name or a node.

    A term names one of them. An access gives all that the target is known as, `check("send", pid, name, pid.node)`:
    an exclusion of any of these refuses it, and an only entry for any of these permits it, since the target is what
    each of them names.
    """

    expected_term = "pid | name | node"
    expected_access = "target, and what else it is known as: pid, name, node"

    def term(self, operands: Operands) -> Operands:
        if len(operands) != 1:
            raise ValueError(f"{len(operands)} operands instead of 1")
        return plain(operands)

    def access(self, what: Operands) -> Aliases:
        if not what:
            raise ValueError("no target")
        hash(what)  # raises TypeError for what can be no target
        return tuple([(target,) for target in what])

    def cover(self, operands: frozenset[Operands]) -> Cover[Aliases]:
        return NameCover(operands)


class Switch(Matching[None]):
    """A kind without operands: the only term is `(kind, "all")`."""

    expected_term = "'all'"
    expected_access = ""

    def term(self, operands: Operands) -> Operands:
        raise ValueError("this kind is excluded as a whole or not at all")

    def access(self, what: Operands) -> None:
        if what:
            raise ValueError("this kind of access has no operands")

    def cover(self, operands: frozenset[Operands]) -> Cover[None]:
        raise AssertionError("a switch has no term but 'all'")


def plain(operands: Operands) -> Operands:
    """The operands, if each is a str, an int, None, a tuple of such, or an opaque hashable value such as a Pid.

    Raises TypeError for the others: what is not hashable, and the numbers and strings of other types, which can equal
    a plain one, so that two different terms would be one.
    """
    for value in operands:
        if type(value) is tuple:
            plain(value)
        elif isinstance(value, (str, int, float, complex, tuple)) and type(value) not in (str, int):
            raise TypeError(f"{value!r} is a {type(value).__name__}, not a str, int, None, tuple or pid")
        else:
            hash(value)
    return operands
