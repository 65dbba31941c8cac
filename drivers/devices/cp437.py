"""Code page 437, as the PC's video hardware shows it: with signs at 0x01 to 0x1f and 0x7f, where the codec of that name has controls.

Source: IBM, code page 437 (CPGID 00437), with the graphics of the control codes.
"""

from __future__ import annotations

from typing import Final

SIGNS: Final = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
CHARACTERS: Final = SIGNS + bytes(range(0x20, 0x7F)).decode() + "⌂" + bytes(range(0x80, 0x100)).decode("cp437")
"""The one of each code. 0 looks as a blank, and so does 0xff."""
CODES: Final = {character: code for code, character in reversed(list(enumerate(CHARACTERS)))} | {" ": 0x20}
UNKNOWN: Final = 0xFE  # ■


def encoded(text: str) -> bytes:
    """A byte a character; what the code page lacks is a ■."""
    return bytes(CODES.get(character, UNKNOWN) for character in text)


def decoded(codes: bytes) -> str:
    """A character a byte."""
    return "".join(CHARACTERS[code] for code in codes)
