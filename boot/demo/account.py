"""What is made of the journal: how far it is, and at the end the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from boot.demo.journal import Slot
from boot.demo.store import KEYS, NOTHING, Written, key_of

HALVES = ("boot.demo.store:Store", "nodes.pair_backup:back_up")  # what the halves of pairs began with
LAZY = "nodes.local_children:LocalChildren"  # on each node, of each distributed supervisor that ever had a child there


@dataclass
class Account:
    """Of the events so far."""

    kills: Counter[str] = field(default_factory=Counter)  # by victim
    roles: Counter[str] = field(default_factory=Counter)  # of the victims
    in_flight: int = 0  # kills while a write was in flight
    spared: int = 0  # kills for which somebody else was drawn first
    late: float = 0.0  # seconds that kills waited until somebody might die, all together
    seen: set[str] = field(default_factory=set)  # nodes
    down: dict[str, float] = field(default_factory=dict)  # who is killed and not back, since when
    back: list[float] = field(default_factory=list)  # seconds from the kill of a node until its next life is at work
    failed_over: list[float] = field(default_factory=list)  # seconds that a call took which outlived its primary
    job_retries: int = 0
    failed: list[str] = field(default_factory=list)  # calls that should not have failed; a hung one is among them
    last_kill: str = ""
    before: dict[str, int] = field(default_factory=dict)  # processes, by what they began with
    after: dict[str, int] | None = None
    kept: dict[str, Written] = field(default_factory=dict)

    def take(self, events: Iterable[Mapping[str, Any]]) -> None:
        """These have come."""
        for event in events:
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["kind"]:
            case "killed":
                victim = event["victim"]
                self.kills[victim] += 1
                self.roles.update(event["roles"])
                self.in_flight += event["in_flight"]
                self.spared += event["spared"] > 0
                self.late += event["late"]
                self.last_kill = f"{short(victim)} ({', '.join(event['roles'])})" if event["roles"] else short(victim)
                if event["roles"] != ["forge"]:
                    self.down[victim] = event["at"]  # again, if it was up and not at work yet
            case "up":
                self.seen.add(event["node"])
                since = self.down.pop(event["node"], None)
                if since is not None:
                    self.back.append(event["at"] - since)
            case "failed_over":
                self.failed_over.append(event["seconds"])
            case "job_retried":
                self.job_retries += event["times"]
            case "failed":
                self.failed.append(event["what"])
            case "began":
                self.before = event["processes"]
            case "kept":
                self.kept[event["key"]] = Written(event["last"], "", tuple(event["missing"]), event["doubled"])
            case "ended":
                self.after = event["processes"]

    def leaked(self, nodes: int) -> dict[str, int]:
        """Processes that are there at the end and were not at the beginning, and how many too many."""
        before, after = Counter(self.before), Counter(self.after or {})
        for counts in (before, after):
            counts["halves"] = sum(counts.pop(name, 0) for name in HALVES)
        if LAZY in before:
            before[LAZY] = max(before[LAZY], nodes * SUPERVISORS)
        return dict(after - before)


SUPERVISORS = 3  # distributed: of the residents, the workers, the killer


def short(node: str) -> str:
    """Without the machine."""
    return node.partition("@")[0]


def find_lost(slots: Sequence[Slot], kept: Mapping[str, Written]) -> list[tuple[str, int]]:
    """The acknowledged writes, by key and number, that are not in the store."""
    lost = []
    for number, slot in enumerate(slots):
        marks = slot.marks()
        for first in range(1, KEYS + 1):
            key = key_of(number, first)
            written = kept.get(key, NOTHING)
            acknowledged = marks[first - 1 :: KEYS]
            candidates = (*written.missing, *range(written.last + 1, len(acknowledged) + 1))
            lost += [(key, each) for each in candidates if acknowledged[each - 1]]
    return lost


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them is below; 0.0 of none."""
    ordered = sorted(values)
    return next(islice(ordered, min(len(ordered) - 1, int(share * len(ordered))), None), 0.0) if ordered else 0.0
