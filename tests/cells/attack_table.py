"""Prints the table of attacks of docs/security.md, from running them: `python tests/cells/attack_table.py`, as root."""

from __future__ import annotations

import os

from corpus import ATTACKS
from walled import NOTHING, Attack, Range, contained

from cells import namespaces


def main() -> None:
    ranges = {
        "nothing": Range(os.geteuid(), []),
        "user and limits": Range(os.geteuid(), ["user", "limits"]),
        "namespaces": Range(os.geteuid(), ["one thread"], namespaces.enter),
        "Landlock": Range(os.geteuid(), ["no new privileges", "landlock"], contained),
        "seccomp": Range(os.geteuid(), ["no new privileges", "seccomp"], contained),
        "all": Range(os.geteuid()),
    }
    kind = ""
    for attack in ATTACKS:
        if attack.kind != kind:
            kind = attack.kind
            print(f"\n**{kind}**\n\n| attack | {' | '.join(ranges)} |\n|---|{'---|' * len(ranges)}")
        print(
            f"| {attack.name} | {' | '.join(shown(attack, name, attacked.run(attack)) for name, attacked in ranges.items())} |", flush=True
        )
    for attacked in ranges.values():
        attacked.close()


def shown(attack: Attack, walls: str, outcome: str) -> str:
    """A dot where an attack is not stopped."""
    if outcome == attack.unlocked and walls != "all":
        return "." if walls != "nothing" else outcome
    if outcome.startswith("ends: ") and walls not in ("seccomp", "all"):
        return "cannot start"  # it did become the program, which then ended with that status
    return "gains nothing" if outcome == NOTHING else outcome


if __name__ == "__main__":
    main()
