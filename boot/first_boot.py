"""What has been done at the first boot, and is not done again: a file for each step, in a folder that outlives the system.

A step is noted when it is done, so it is done at least once: one whose machine fails between the two is done again. A note is put under
its name by a rename, when it is on the disk; so a file of that name says that the step was done, even if what is in it was damaged since.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

SUFFIX = ".done"

log = logging.getLogger("beamlike.init")


def read_done(store: Path) -> set[str]:
    """The names of the steps that are done. The folder is made if it is not there.

    A damaged note counts, for a first step that is done twice may destroy what came of it; it is told. Raises: OSError.
    """
    store.mkdir(parents=True, exist_ok=True)
    done = set()
    for path in sorted(store.glob(f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        if not _is_whole(path, name):
            log.error("%s is damaged: %s counts as done; remove the file to have it done again", path, name)
        done.add(name)
    return done


def _is_whole(path: Path, name: str) -> bool:
    try:
        match json.loads(path.read_bytes()):
            case {"goal": str(noted), "done": int() | float()}:
                return noted == name
    except ValueError:
        pass  # that is what damage looks like
    return False


def note_done(store: Path, name: str) -> None:
    """Note that a step is done; when this returns it is on the disk. Raises: OSError: it is not noted."""
    final = store / f"{name}{SUFFIX}"
    fresh = store / f".{name}.{os.getpid()}.new"
    try:
        with open(fresh, "w") as file:
            json.dump({"goal": name, "done": time.time()}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, final)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
