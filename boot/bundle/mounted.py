"""The bundle in a node: a sealed copy of its own, from which Python imports, and the way to tell who boots how it goes."""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import sys
import time
from contextlib import suppress
from typing import Any

from boot.bundle.archive import Bundle, read_bundle
from boot.bundle.sealed import sealed
from boot.logs import show_logs
from nodes.seam import given

_bundle: Bundle | None = None
_report = -1


def mount(level: str, as_json: bool) -> None:
    """The `setup` of a node that was given the booted memory and where to report: copy it, close it, and import from the copy."""
    global _bundle, _report
    show_logs(level, as_json=as_json)
    master, _report = given()
    with mmap.mmap(master, 0, prot=mmap.PROT_READ) as booted, memoryview(booted) as view:
        own = sealed(view, "beamlike-bundle")
    os.close(master)
    os.set_blocking(_report, False)
    path = f"/proc/self/fd/{own}"
    _bundle = read_bundle(path)
    sys.path.insert(0, path)
    goals = logging.getLogger("beamlike.init")
    goals.setLevel(logging.INFO)
    goals.addHandler(_Reports())
    goals.propagate = False


def mounted() -> Bundle:
    """What this node was booted from. Raises: RuntimeError: it was not booted."""
    if _bundle is None:
        raise RuntimeError("this node was not booted from an image: `beamlike boot IMAGE` does that")
    return _bundle


def report(kind: str, text: str, level: str = "info", **more: Any) -> None:
    """Tell who boots; nothing, if nobody reads it. A long text is cut off: so a line is written at once, or not at all (pipe(7))."""
    with suppress(OSError):  # it is full, or closed
        os.write(_report, _line({"at": time.monotonic(), "kind": kind, "text": text, "level": level, **more}))


def _line(told: dict[str, Any]) -> bytes:
    text = told["text"]
    while len(line := json.dumps(told).encode() + b"\n") > select.PIPE_BUF:
        text = text[: len(text) // 2]
        told = {**told, "text": f"{text}…"}
    return line


class _Reports(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        more = {}
        if type(record.args) is tuple and len(record.args) == 3:  # as `Init` tells of a state
            more = {"goal": str(record.args[0]), "state": str(record.args[1])}
        report("goal", record.getMessage(), record.levelname.lower(), **more)
