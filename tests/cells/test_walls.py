"""The hostile corpus against the walls: each attack succeeds without them, and none behind them, for root and for an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from corpus import ATTACKS
from walled import NOBODY, Attack, Range

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the corpus makes system calls by their numbers")

USERS = {"root": 0, "nobody": NOBODY} if os.geteuid() == 0 else {"user": os.geteuid()}


@pytest.fixture(scope="module")
def unlocked() -> Iterator[Range]:
    attacked = Range(os.geteuid(), walls=())
    yield attacked
    attacked.close()


@pytest.fixture(scope="module", params=list(USERS.values()), ids=list(USERS))
def locked(request: pytest.FixtureRequest) -> Iterator[Range]:
    attacked = Range(request.param)
    yield attacked
    attacked.close()


every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}: {attack.name}")


@every_attack
def test_an_attack_succeeds_without_walls(attack: Attack, unlocked: Range) -> None:
    if attack.needs == "root" and os.geteuid() != 0:
        pytest.skip("only root can do that even without walls")
    assert unlocked.run(attack) == attack.unlocked


@every_attack
def test_an_attack_fails_behind_the_walls(attack: Attack, locked: Range) -> None:
    assert locked.run(attack) == attack.locked


def test_the_corpus_has_at_least_sixty_attacks_with_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60
