"""What runs for every record between two nodes: plain typed Python, compiled with Cython at install as `beamlike.hot` is.

    ends        the two ends of a mailbox, and the look at all that a node reads
    portable    what stands for ring.h while it is not compiled

With `BEAMLIKE_PURE=1` in the environment before the first import the sources are taken.
"""

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

if os.environ.get("BEAMLIKE_PURE", "0") not in ("", "0"):
    sys.path_importer_cache[__path__[0]] = FileFinder(__path__[0], (SourceFileLoader, SOURCE_SUFFIXES))
