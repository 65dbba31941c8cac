"""What `beamlike demo` runs.

Inside:

    word_count      the program, which is one of the examples, too
    show            its display
"""

from boot.demo.show import MEGABYTES, main

__all__ = ["MEGABYTES", "main"]
