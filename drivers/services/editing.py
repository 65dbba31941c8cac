"""The line that is being typed, and those before it; keys of what a terminal sends. Nothing here touches a device.

Source: ECMA-48, 5th edition (1991), for control sequences; xterm's control sequences (ctlseqs) for what cursor keys send.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from enum import Enum, auto
from itertools import takewhile
from typing import Final

MOST: Final = 1000  # characters of a line: with its prompt it fits a screen
MOST_HISTORY: Final = 1000  # lines
MOST_SEQUENCE: Final = 16  # characters of a control sequence: one that is longer is none
INDENT: Final = " " * 4
COMBINING: Final = ("Mn", "Me")  # categories; some of these have no combining class: vowels of Thai, variation selectors
BELL, ESCAPE = "\a", "\x1b"


class Action(Enum):
    """A key that is no text."""

    ENTER = auto()
    INTERRUPT = auto()
    """Ctrl-C."""
    CLOSE = auto()
    """Ctrl-D: the end on an empty line, else as DELETE."""
    BACKSPACE = auto()
    DELETE = auto()
    CLEAR = auto()
    """Ctrl-U: all before the cursor."""
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    UP = auto()
    """The line before, of the history."""
    DOWN = auto()


Key = str | Action
"""Text, or what else a key does."""

CONTROLS: Final[dict[str, Key]] = {
    "\r": Action.ENTER,
    "\n": Action.ENTER,
    "\b": Action.BACKSPACE,
    "\x7f": Action.BACKSPACE,
    "\t": INDENT,
    "\x01": Action.HOME,
    "\x03": Action.INTERRUPT,
    "\x04": Action.CLOSE,
    "\x05": Action.END,
    "\x15": Action.CLEAR,
}
SEQUENCES: Final = {
    f"{begin}{final}": action
    for begin in "[O"
    for final, action in zip(
        "ABCDHF", (Action.UP, Action.DOWN, Action.RIGHT, Action.LEFT, Action.HOME, Action.END), strict=True
    )
} | {"[1~": Action.HOME, "[7~": Action.HOME, "[4~": Action.END, "[8~": Action.END, "[3~": Action.DELETE}  # fmt: skip
"""Behind an escape."""


def keys_of(text: str) -> list[Key]:
    """Of characters as keyboards send them. Control characters that mean nothing here are left out."""
    return [CONTROLS.get(each, each) for each in text if each in CONTROLS or each.isprintable()]


class AnsiKeys:
    """Keys from the bytes of a terminal: UTF-8, and control sequences. CR, LF, and CR with LF, are one Enter."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sequence = ""  # from its escape on
        self._was_return = False

    def feed(self, data: bytes) -> list[Key]:
        """The keys that are complete now. A sequence that is unknown is none."""
        found: list[Key] = []
        for each in self._decoder.decode(data):
            if self._sequence and each >= " ":
                self._go_on(each, found)
            elif each == ESCAPE:
                self._sequence = each
            else:
                self._sequence = ""
                if not (each == "\n" and self._was_return):
                    found += keys_of(each)
            self._was_return = each == "\r"
        return found

    def _go_on(self, each: str, found: list[Key]) -> None:
        self._sequence += each
        length = len(self._sequence)
        if self._sequence == "\x1b[[" or (each in "[O" if length == 2 else length < MOST_SEQUENCE and not "@" <= each <= "~"):
            return  # two brackets: F1 to F5 of a Linux console
        if action := SEQUENCES.get(self._sequence[1:]):
            found.append(action)
        self._sequence = ""


def cells(text: str) -> int:
    """How many columns a terminal gives to a text: two to wide characters (Unicode, UAX 11), none to marks that combine."""
    return sum(0 if unicodedata.category(each) in COMBINING else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


class LineEditor:
    """A line, its cursor, and the lines before it.

    What a key changes is told as text to be shown, in which `\\b` moves the cursor one cell to the left.

    Args:
        width: the cells that a text takes up.
    """

    def __init__(self, width: Callable[[str], int] = len) -> None:
        self.text = ""
        self.at = 0
        self.lost = 0
        """Characters that had no room in the line, since something was taken out of it."""
        self._width = width
        self._history: list[str] = []
        self._place = 0  # in the history; its end is the line itself
        self._draft, self._draft_lost = "", 0  # that line, while one of the history is shown

    def type(self, key: Key) -> str:
        """What is to be shown for it. ENTER and INTERRUPT are for whoever reads the line, and do nothing here."""
        text, at = self.text, self.at
        match key:
            case str():
                if len(text) + len(key) > MOST:
                    self.lost += len(key)
                    return BELL
                self.text, self.at = text[:at] + key + text[at:], at + len(key)
            case Action.BACKSPACE if at:
                self._set(text[: at - 1] + text[at:], at - 1)
            case Action.DELETE | Action.CLOSE:
                self._set(text[:at] + text[at + 1 :], at)
            case Action.CLEAR:
                self._set(text[at:], 0)
            case Action.LEFT:
                self.at = max(0, at - 1)
            case Action.RIGHT:
                self.at = min(len(text), at + 1)
            case Action.HOME:
                self.at = 0
            case Action.END:
                self.at = len(text)
            case Action.UP:
                self._recall(self._place - 1)
            case Action.DOWN:
                self._recall(self._place + 1)
        return self._change(text, at)

    def shown(self) -> str:
        """All of it, on a screen that does not have it, from where it is to begin."""
        return self.text + "\b" * self._width(self.text[self.at :])

    def finish(self) -> str:
        """The line, which is in the history now; the next one is empty."""
        line = self.text
        if line.strip() and self._history[-1:] != [line]:
            self._history = [*self._history, line][-MOST_HISTORY:]
        self.forget()
        return line

    def forget(self) -> None:
        """The line is empty again."""
        self._set("", 0)
        self.lost = 0
        self._place, self._draft = len(self._history), ""

    def _set(self, text: str, at: int) -> None:
        if len(text) < len(self.text):
            self.lost = 0
        self.text, self.at = text, at

    def _recall(self, place: int) -> None:
        if not 0 <= place <= len(self._history):
            return
        if self._place == len(self._history):
            self._draft, self._draft_lost = self.text, self.lost
        self._place = place
        line = self._draft if place == len(self._history) else self._history[place]
        self._set(line, len(line))
        self.lost = self._draft_lost if place == len(self._history) else 0

    def _change(self, text: str, at: int) -> str:
        """From this text and cursor to those that are now."""
        equal = takewhile(lambda pair: pair[0] == pair[1], zip(text, self.text, strict=False))
        same = self.at if text == self.text else sum(1 for _ in equal)
        to_change = "\b" * self._width(text[same:at]) if same < at else text[at:same]
        if text == self.text:
            return to_change
        rest = self.text[same:]
        blanks = max(0, self._width(text[same:]) - self._width(rest))
        return to_change + rest + " " * blanks + "\b" * (blanks + self._width(self.text[self.at :]))
