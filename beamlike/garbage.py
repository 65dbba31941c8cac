"""Garbage collection with a million processes.

CPython's full collection walks everything that is alive: 0.4 s and more with a million processes. So while a node is open: the young
generations are collected as always, with a higher threshold; when the node has grown by GROWTH processes since the last time,
everything alive is moved out of
the collector's sight (`gc.freeze`, constant time). What is frozen is freed by reference counting as ever; only *cycles* among
frozen objects
wait, until the node is idle and at least half of the frozen processes have ended: then it thaws, collects fully once, and freezes again.
`BEAMLIKE_GC=off` in the environment leaves Python's own policy alone.
"""

from __future__ import annotations

import gc
import os
import time

from beamlike.hot import scheduler

GROWTH = 20_000  # processes; about 100,000 objects
THRESHOLDS = (10_000, 20, 100)  # CPython's own: 700, 10, 10

is_on = False
_has_frozen = False  # since the node was opened
_frozen_at = 0  # process count when the last freeze was made
_most_at = 0  # the highest count since the last full collection
_old_thresholds = (700, 10, 10)
_began = 0.0
pauses: dict[int, float] = {}  # generation -> longest pause seen, in seconds


def start() -> None:
    """A node opens."""
    global is_on, _has_frozen, _frozen_at, _most_at, _old_thresholds
    is_on = os.environ.get("BEAMLIKE_GC", "") != "off"
    _has_frozen = False
    _frozen_at = _most_at = 0
    pauses.clear()
    gc.callbacks.append(_measure)
    if is_on:
        _old_thresholds = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)


def stop() -> None:
    """A node closes."""
    if _measure in gc.callbacks:  # else it was not open yet
        gc.callbacks.remove(_measure)
    if is_on:
        gc.set_threshold(*_old_thresholds)
        if _has_frozen:
            gc.unfreeze()


def after_slice() -> None:
    """Freeze after growth."""
    global _has_frozen, _frozen_at, _most_at
    count = scheduler.process_count()
    if is_on and count > _frozen_at + GROWTH:
        gc.freeze()
        _has_frozen = True
        _frozen_at = count
        _most_at = max(_most_at, count)


def before_idle() -> None:
    """Collect fully when that is worth its while: half of the processes that were frozen have ended."""
    global _frozen_at, _most_at
    count = scheduler.process_count()
    if is_on and _most_at > GROWTH and count < _most_at // 2:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _frozen_at = _most_at = count


def _measure(phase: str, info: dict[str, int]) -> None:
    global _began
    if phase == "start":
        _began = time.perf_counter()
    else:
        generation = info["generation"]
        pauses[generation] = max(pauses.get(generation, 0.0), time.perf_counter() - _began)
