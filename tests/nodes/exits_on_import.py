"""A module that ends the program where it is imported, unless it was told not to."""

import sys

if not hasattr(sys, "is_to_import_what_exits"):
    sys.exit(3)


def callback() -> None:
    """Called by nobody."""
