"""Clients of the store and of the pool, who call all the time."""

from __future__ import annotations

from time import monotonic
from typing import Any

from beamlike import CallError, sleep
from boot.demo.journal import Journal
from boot.demo.pool import digest, work
from boot.demo.store import place_of
from nodes import call_pair, where_is_pair

HUNG = 10.0  # seconds after which a call hangs
LOOK = 0.005  # seconds
JOB = 20  # of so many writes, one has its text hashed by the pool first


async def write_all_the_time(address: tuple[Any, ...], number: int, pairs: int) -> None:
    """One client: write until the end of the run, from where the one before it on this slot was killed."""
    journal = Journal.open(address)
    while not journal.begun:
        await sleep(LOOK)
    slot = journal.slots[number]
    written = slot.tried
    while not journal.is_over and written < slot.most:
        written += 1
        pair, key, sequence = place_of(number, written, pairs)
        text = f"{number}.{written}"
        try:
            if written % JOB == 0:
                answer, lost = await work(text, HUNG)
                slot.count_job()
                if lost:
                    journal.tell("job_retried", times=lost)
                if answer != digest(text):
                    journal.tell("failed", what=f"the pool said {answer} for {text}")
            primary = where_is_pair(pair)
            slot.begin(written)
            begun = monotonic()
            await call_pair(pair, ("put", key, sequence, text), HUNG)
        except CallError as error:
            journal.tell("failed", what=str(error))
        else:
            slot.acknowledge(written)
            if not is_still_there(pair, primary):
                journal.tell("failed_over", seconds=monotonic() - begun)


def is_still_there(pair: str, place: tuple[object, object] | None) -> bool:
    """Has the pair the primary that it had?"""
    now = where_is_pair(pair)
    return now is not None and place is not None and now[0] == place[0]
