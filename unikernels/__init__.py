# Unikernels: programs in C, each a node of its own, in the same mailboxes.
#
#   unikernel.py     start_unikernel, and the process that one is to everybody else
#   pool.py          one name for several
#   linux.py         one as an OS process, launch.c how that is started;  bare.py  one on a machine of its own;  platform.py  what both have
#   memory.py        what it shares with its node;  cores.py  which it has for itself
#   toolkit.py       build;  lib/  what a program is linked with: uk.h is its face
#   images.py        what a file is
#   errors.py        BuildError, ImageError

from unikernels.errors import BuildError, ImageError
from unikernels.images import MOST_MEMORY, image_of
from unikernels.pool import UnikernelPool
from unikernels.toolkit import Built, Linked, build
from unikernels.unikernel import Unikernel, start_unikernel

__all__ = [
    "MOST_MEMORY",
    "BuildError",
    "Built",
    "ImageError",
    "Linked",
    "Unikernel",
    "UnikernelPool",
    "build",
    "image_of",
    "start_unikernel",
]
