"""What the hot path needs of the `cython` module where Cython is not installed, as it need not be at run time."""

compiled = False
