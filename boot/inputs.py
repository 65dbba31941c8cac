"""What is typed at a prompt, line by line, until it is something to be evaluated."""

from __future__ import annotations

import ast
import codeop
import traceback


class NotPythonError(Exception):
    """What was typed is no Python. The text says where."""


class Inputs:
    """Of one prompt, which has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._compiler = codeop.CommandCompiler()
        self._compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._lines: list[str] = []

    @property
    def prompt(self) -> str:
        """What to show before the next line."""
        return "... ".rjust(len(self.name) + 4) if self._lines else f"{self.name}>>> "

    def add(self, line: str) -> str | None:
        """One more line: the source to evaluate, or None if there is more to come. Raises: NotPythonError: all of it is forgotten."""
        self._lines.append(line)
        source = "\n".join(self._lines)
        try:
            if self._compiler(source, "<input>", "single") is None:
                return None
        except (MemoryError, OverflowError, RecursionError, SyntaxError, ValueError) as error:  # the compiler's own limits, too
            self.forget()
            raise NotPythonError("".join(traceback.format_exception_only(error)).rstrip("\n")) from None
        self.forget()
        return source

    def forget(self) -> None:
        """Begin anew."""
        self._lines = []
