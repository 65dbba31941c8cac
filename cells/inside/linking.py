"""Functions of Python that a WebAssembly module calls, by wasmtime's C interface, at a fraction of what a call by its Python face costs.

Nothing else here uses what is not in that face; pyproject.toml pins the version.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any, Final

from wasmtime import FuncType, Linker, Trap, ValType, WasmtimeError, _ffi

SLOT: Final = 16  # bytes of an argument or a result: wasmtime_val_raw_t
TYPES: Final = {"i": (ValType.i32, "i12x"), "l": (ValType.i64, "q8x")}

_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_NO_FINALIZER: Final = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))


class Functions:
    """Those that a linker got. What one of them raises ends the module with a trap, and is in `raised` then.

    To be kept as long as they are called.
    """

    def __init__(self, linker: Linker) -> None:
        self.linker = linker
        self.raised: BaseException | None = None
        self._callbacks: list[Any] = []

    def define(self, namespace: str, name: str, function: Callable[..., int | None], parameters: str, result: str) -> None:
        """Add one. `parameters` has a letter each, `result` at most one: i is an i32, l an i64; both come with a sign."""
        size = SLOT * len(parameters)
        unpack = struct.Struct("<" + "".join(TYPES[letter][1] for letter in parameters)).unpack
        string_at, result_at = ctypes.string_at, ctypes.c_int64.from_address

        def called(_: int, caller: int, values: int, count: int) -> int:
            try:
                returned = function(*unpack(string_at(values, size)))
                if returned is not None:
                    result_at(values).value = returned
            except BaseException as error:  # noqa: BLE001 - wasmtime is between here and who will have it
                self.raised = error
                return ctypes.cast(Trap("raised")._consume(), ctypes.c_void_p).value or 0
            return 0

        callback = _CALLBACK(called)
        self._callbacks.append(callback)
        kind = FuncType([TYPES[letter][0]() for letter in parameters], [TYPES[letter][0]() for letter in result])
        raw = ctypes.cast(callback, _ffi.wasmtime_func_unchecked_callback_t)
        where, what = namespace.encode(), name.encode()
        error = _ffi.wasmtime_linker_define_func_unchecked(
            self.linker.ptr(), where, len(where), what, len(what), kind.ptr(), raw, None, _NO_FINALIZER
        )
        if error:
            raise WasmtimeError._from_ptr(error)
