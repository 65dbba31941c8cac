"""From keys to text: the layouts us and de. Nothing here touches a device.

Source: ANSI INCITS 154 (us); DIN 2137-1 T1 (de).

Covers: Shift, Caps Lock, AltGr, dead keys, the keypad with Num Lock, control characters. Not: the groups of T2 and T3, input methods.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final, NamedTuple

from drivers.devices.scancodes import Key, KeyEvent, Modifiers

ROWS: Final = (
    "GRAVE D1 D2 D3 D4 D5 D6 D7 D8 D9 D0 MINUS EQUAL",
    "Q W E R T Y U I O P LEFT_BRACKET RIGHT_BRACKET",
    "A S D F G H J K L SEMICOLON APOSTROPHE BACKSLASH",
    "ISO Z X C V B N M COMMA PERIOD SLASH",
)
"""The keys that differ from layout to layout, as they lie."""

CIRCUMFLEX, ACUTE, GRAVE = "\u0302", "\u0301", "\u0300"  # they combine: what a dead key waits with
SPACING: Final = {CIRCUMFLEX: "^", ACUTE: "´", GRAVE: "`"}
FIXED: Final = {
    Key.SPACE: " ",
    Key.ENTER: "\n",
    Key.TAB: "\t",
    Key.BACKSPACE: "\b",
    Key.ESCAPE: "\x1b",
    Key.KP_ENTER: "\n",
    Key.KP_DIVIDE: "/",
    Key.KP_MULTIPLY: "*",
    Key.KP_MINUS: "-",
    Key.KP_PLUS: "+",
}
DIGITS: Final = {getattr(Key, f"KP_{digit}"): str(digit) for digit in range(10)}


class Layout(NamedTuple):
    """What keys mean. A dead key is a combining character in these."""

    name: str
    plain: Mapping[Key, str]
    shifted: Mapping[Key, str]
    altgr: Mapping[Key, str]
    """Empty: the right Alt is but an Alt."""
    decimal: str
    """On the keypad."""

    def character(self, event: KeyEvent) -> str:
        """What a key that goes down means, without regard to dead keys before it; "" if it is none for text."""
        held, key = event.modifiers, event.key
        is_altgr = bool(held & Modifiers.ALTGR and self.altgr)
        if not event.is_pressed or held & (Modifiers.ALT | Modifiers.META) or (held & Modifiers.ALTGR and not self.altgr):
            return ""
        if is_altgr:
            return self.altgr.get(key, "")
        is_shifted = bool(held & Modifiers.SHIFT)
        if key in DIGITS or key is Key.KP_PERIOD:
            return DIGITS.get(key, self.decimal) if held & Modifiers.NUM and not is_shifted else ""
        if key in FIXED:
            return FIXED[key]
        plain, shifted = self.plain.get(key, ""), self.shifted.get(key, "")
        if held & Modifiers.CTRL:
            return chr(ord(plain) & 0x1F) if plain.isascii() and plain.isalpha() else ""
        if held & Modifiers.CAPS and plain.upper() == shifted:  # a letter
            is_shifted = not is_shifted
        return shifted if is_shifted else plain


def _table(*rows: str) -> dict[Key, str]:
    """Rows as they lie, a character a key; a blank: nothing."""
    return {
        Key[name]: character
        for names, characters in zip(ROWS, rows, strict=True)
        for name, character in zip(names.split(), characters, strict=True)
        if character != " "
    }


US: Final = Layout(
    "us",
    _table("`1234567890-=", "qwertyuiop[]", "asdfghjkl;'\\", "\\zxcvbnm,./"),
    _table("~!@#$%^&*()_+", "QWERTYUIOP{}", 'ASDFGHJKL:"|', "|ZXCVBNM<>?"),
    {},
    ".",
)
DE: Final = Layout(
    "de",
    _table(f"{CIRCUMFLEX}1234567890ß{ACUTE}", "qwertzuiopü+", "asdfghjklöä#", "<yxcvbnm,.-"),
    _table(f'°!"§$%&/()=?{GRAVE}', "QWERTZUIOPÜ*", "ASDFGHJKLÖÄ'", ">YXCVBNM;:_"),
    _table("  ²³   {[]}\\ ", "@ €        ~", " " * 12, "|      µ   "),
    ",",
)
LAYOUTS: Final = {layout.name: layout for layout in (US, DE)}


class Typist:
    """Text from the events of one keyboard. It remembers a dead key until the next character.

    A dead key and a character that goes with it give one character; a dead key and a blank, or itself again, its own sign; else the sign
    and then the character.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._dead = ""

    def text(self, event: KeyEvent) -> str:
        """What this event adds to the text: mostly one character, or none. Enter is a newline, Backspace and others a control character."""
        found = self.layout.character(event)
        if not found:
            return ""
        dead, self._dead = self._dead, ""
        if not dead:
            if found in SPACING:
                self._dead, found = found, ""
            return found
        if found in (" ", dead):
            return SPACING[dead]
        if found in SPACING:
            self._dead = found
            return SPACING[dead]
        composed = unicodedata.normalize("NFC", found + dead)
        return composed if len(composed) == 1 else SPACING[dead] + found
