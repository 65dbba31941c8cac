"""The verdict on a run, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boot.demo.account import Account, find_lost, quantile
from boot.demo.journal import Slot
from boot.demo.watch import MEGABYTE, SLACK, Sample, grown, thirds


@dataclass(frozen=True)
class Verdict:
    """Times are in seconds. `footprint`: as `watch.thirds`. What is wrong, in words, is `faults`; empty: all is as promised."""

    seconds: float
    acknowledged: int
    jobs: int
    kills: Mapping[str, int]
    roles: Mapping[str, int]
    in_flight: int
    spared: int
    late: float
    failed_over: int
    fail_over_median: float
    fail_over_longest: float
    back_median: float
    back_longest: float
    job_retries: int
    lost: int
    doubled: int
    failed: int
    footprint: Mapping[str, tuple[int, int]]
    faults: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **vars(self),
            "kills": dict(self.kills),
            "roles": dict(self.roles),
            "footprint": dict(self.footprint),
            "faults": list(self.faults),
        }

    def lines(self) -> list[str]:
        """For people; the last one says it all."""
        kills = sum(self.kills.values())
        rate = self.acknowledged / self.seconds if self.seconds else 0.0
        text = [f"{self.acknowledged:,} acknowledged writes in {self.seconds:.1f} s, {rate:,.0f} a second; {self.jobs:,} jobs of the pool"]
        if kills:
            roles = ", ".join(f"{count} × {role}" for role, count in sorted(self.roles.items()))
            text += [
                f"{kills} kills ({roles}); calls were in flight at {self.in_flight / kills:.0%} of them; {self.spared} times another one "
                f"was taken, or waited for, so that of each pair one half lives",
                f"{self.failed_over} calls outlived their primary, in {1e3 * self.fail_over_median:.0f} ms (median; longest "
                f"{1e3 * self.fail_over_longest:.0f} ms), and {self.job_retries} jobs their worker; a node was back after "
                f"{1e3 * self.back_median:.0f} ms (median; longest {1e3 * self.back_longest:.0f} ms)",
            ]
        if self.footprint:
            fds, memory, node_fds, node_memory = (self.footprint[what] for what in SLACK)
            text += [
                f"from the second third of the run to the last: the owner {_megabytes(*memory)} and {fds[0]} → {fds[1]} descriptors, "
                f"the largest node {_megabytes(*node_memory)} and {node_fds[0]} → {node_fds[1]} descriptors"
            ]
        if self.faults:
            return [*text, *[f"WRONG: {fault}" for fault in self.faults]]
        return [*text, "read back: 0 acknowledged writes lost, 0 executed twice, 0 calls hung, 0 processes or descriptors left over"]


def _megabytes(before: int, after: int) -> str:
    return f"{before / MEGABYTE:.1f} → {after / MEGABYTE:.1f} MB"


def judge(
    account: Account, slots: Sequence[Slot], seconds: float, samples: Sequence[Sample], nodes: int, left_over: Sequence[str]
) -> Verdict:
    """`left_over`: what was still there when the system had ended."""
    lost = find_lost(slots, account.kept) if account.after is not None else []
    doubled = sum(written.doubled for written in account.kept.values())
    faults = [f"{failure}" for failure in account.failed[:10]]
    if account.after is None:
        faults.append("the store could not be read back")
    if lost:
        faults.append(f"{len(lost)} acknowledged writes are lost, such as {', '.join(f'{number} of {key}' for key, number in lost[:5])}")
    if doubled:
        faults.append(f"{doubled} writes were executed twice")
    if account.down:
        faults.append(f"{', '.join(sorted(account.down))} did not come back")
    for name, count in account.leaked(nodes).items():
        faults.append(f"{count} processes too many began with {name}")
    for what, more in grown(samples).items():
        faults.append(f"{what} grew by {f'{more / MEGABYTE:.1f} MB' if 'memory' in what else more}")
    faults += left_over
    return Verdict(
        seconds=round(seconds, 3),
        acknowledged=sum(slot.done for slot in slots),
        jobs=sum(slot.jobs for slot in slots),
        kills=account.kills,
        roles=account.roles,
        in_flight=account.in_flight,
        spared=account.spared,
        late=round(account.late, 3),
        failed_over=len(account.failed_over),
        fail_over_median=quantile(account.failed_over, 0.5),
        fail_over_longest=quantile(account.failed_over, 1.0),
        back_median=quantile(account.back, 0.5),
        back_longest=quantile(account.back, 1.0),
        job_retries=account.job_retries,
        lost=len(lost),
        doubled=doubled,
        failed=len(account.failed),
        footprint=thirds(samples),
        faults=tuple(faults),
    )
