"""The hot path: what runs for every message. Plain typed Python; compiled with Cython at install (types in the .pxd files).

A compiled module lies beside its source, and Python would take it. With `BEAMLIKE_PURE=1` in the environment before the
first import, this folder is searched for sources only: the same modules, uncompiled, for tests and debuggers. Nothing in
here imports the rest of beamlike.
"""

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader

__all__ = ["is_compiled"]

if sys.platform != "linux":
    raise ImportError(f"beamlike runs on Linux only (pidfd, eventfd, memfd); this is {sys.platform}")

if os.environ.get("BEAMLIKE_PURE", "0") not in ("", "0"):
    # The import system asks the finder that it has cached for a folder; ours is told of no extension modules.
    sys.path_importer_cache[__path__[0]] = FileFinder(__path__[0], (SourceFileLoader, SOURCE_SUFFIXES))


def is_compiled() -> bool:
    """Whether this interpreter runs the compiled hot path: what `ids` was really loaded from, not what was asked for."""
    from beamlike.hot import ids

    return isinstance(ids.__spec__.loader, ExtensionFileLoader)
