"""What build_launch.py compiles. `ffi` and C pointers are `Any`: types-cffi has no word for what a pointer points to."""

from typing import Any

ffi: Any

class _Library:
    BL_IMAGE: int

    def bl_start(self, how: Any, step: Any, /) -> int: ...

lib: _Library
