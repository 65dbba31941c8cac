"""What goes wrong before a unikernel runs."""

from __future__ import annotations


class BuildError(Exception):
    """A source could not be built. The text is the compiler's or the linker's own, as it would be on a terminal."""


class ImageError(ValueError):
    """A file is no image of a unikernel that this machine can run. The text says what it is, and what was expected."""
