"""Keys of a PS/2 keyboard, and their scan codes as events. Nothing here touches a device.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)"; Microsoft, Keyboard Scan Code
Specification 1.3a (2000), for the keys that came later.

Covers: the sets 1 and 2 with their prefixes, Pause, Print Screen and its variants, the shifts that a keyboard makes up. Not: set 3.
"""

from __future__ import annotations

from enum import Enum, IntFlag
from typing import Final

from beamlike import record


@record
class Key(Enum):
    """A key, by what the US layout has on it, with its codes of set 1 and set 2. `ISO` is the one beside the left Shift."""

    ESCAPE = 0x01, 0x76
    D1 = 0x02, 0x16
    D2 = 0x03, 0x1E
    D3 = 0x04, 0x26
    D4 = 0x05, 0x25
    D5 = 0x06, 0x2E
    D6 = 0x07, 0x36
    D7 = 0x08, 0x3D
    D8 = 0x09, 0x3E
    D9 = 0x0A, 0x46
    D0 = 0x0B, 0x45
    MINUS = 0x0C, 0x4E
    EQUAL = 0x0D, 0x55
    BACKSPACE = 0x0E, 0x66
    TAB = 0x0F, 0x0D
    Q = 0x10, 0x15
    W = 0x11, 0x1D
    E = 0x12, 0x24
    R = 0x13, 0x2D
    T = 0x14, 0x2C
    Y = 0x15, 0x35
    U = 0x16, 0x3C
    I = 0x17, 0x43  # noqa: E741 - the key's name
    O = 0x18, 0x44  # noqa: E741
    P = 0x19, 0x4D
    LEFT_BRACKET = 0x1A, 0x54
    RIGHT_BRACKET = 0x1B, 0x5B
    ENTER = 0x1C, 0x5A
    LEFT_CTRL = 0x1D, 0x14
    A = 0x1E, 0x1C
    S = 0x1F, 0x1B
    D = 0x20, 0x23
    F = 0x21, 0x2B
    G = 0x22, 0x34
    H = 0x23, 0x33
    J = 0x24, 0x3B
    K = 0x25, 0x42
    L = 0x26, 0x4B
    SEMICOLON = 0x27, 0x4C
    APOSTROPHE = 0x28, 0x52
    GRAVE = 0x29, 0x0E
    LEFT_SHIFT = 0x2A, 0x12
    BACKSLASH = 0x2B, 0x5D
    Z = 0x2C, 0x1A
    X = 0x2D, 0x22
    C = 0x2E, 0x21
    V = 0x2F, 0x2A
    B = 0x30, 0x32
    N = 0x31, 0x31
    M = 0x32, 0x3A
    COMMA = 0x33, 0x41
    PERIOD = 0x34, 0x49
    SLASH = 0x35, 0x4A
    RIGHT_SHIFT = 0x36, 0x59
    KP_MULTIPLY = 0x37, 0x7C
    LEFT_ALT = 0x38, 0x11
    SPACE = 0x39, 0x29
    CAPS_LOCK = 0x3A, 0x58
    F1 = 0x3B, 0x05
    F2 = 0x3C, 0x06
    F3 = 0x3D, 0x04
    F4 = 0x3E, 0x0C
    F5 = 0x3F, 0x03
    F6 = 0x40, 0x0B
    F7 = 0x41, 0x83
    F8 = 0x42, 0x0A
    F9 = 0x43, 0x01
    F10 = 0x44, 0x09
    NUM_LOCK = 0x45, 0x77
    SCROLL_LOCK = 0x46, 0x7E
    KP_7 = 0x47, 0x6C
    KP_8 = 0x48, 0x75
    KP_9 = 0x49, 0x7D
    KP_MINUS = 0x4A, 0x7B
    KP_4 = 0x4B, 0x6B
    KP_5 = 0x4C, 0x73
    KP_6 = 0x4D, 0x74
    KP_PLUS = 0x4E, 0x79
    KP_1 = 0x4F, 0x69
    KP_2 = 0x50, 0x72
    KP_3 = 0x51, 0x7A
    KP_0 = 0x52, 0x70
    KP_PERIOD = 0x53, 0x71
    ISO = 0x56, 0x61
    F11 = 0x57, 0x78
    F12 = 0x58, 0x07
    KP_ENTER = 0xE01C, 0xE05A
    RIGHT_CTRL = 0xE01D, 0xE014
    MUTE = 0xE020, 0xE023
    VOLUME_DOWN = 0xE02E, 0xE021
    VOLUME_UP = 0xE030, 0xE032
    KP_DIVIDE = 0xE035, 0xE04A
    RIGHT_ALT = 0xE038, 0xE011
    HOME = 0xE047, 0xE06C
    UP = 0xE048, 0xE075
    PAGE_UP = 0xE049, 0xE07D
    LEFT = 0xE04B, 0xE06B
    RIGHT = 0xE04D, 0xE074
    END = 0xE04F, 0xE069
    DOWN = 0xE050, 0xE072
    PAGE_DOWN = 0xE051, 0xE07A
    INSERT = 0xE052, 0xE070
    DELETE = 0xE053, 0xE071
    LEFT_META = 0xE05B, 0xE01F
    RIGHT_META = 0xE05C, 0xE027
    MENU = 0xE05D, 0xE02F
    POWER = 0xE05E, 0xE037
    SLEEP = 0xE05F, 0xE03F
    WAKE = 0xE063, 0xE05E
    PRINT_SCREEN = 0xE02AE037, 0xE012E07C
    PAUSE = 0xE11D45, 0xE11477

    def __init__(self, set_1: int, set_2: int) -> None:
        self.set_1 = set_1
        self.set_2 = set_2


@record
class Modifiers(IntFlag):
    """Keys that are held, and locks that are on."""

    SHIFT = 1
    CTRL = 2
    ALT = 4
    """The left one."""
    ALTGR = 8
    """The right one."""
    META = 16
    CAPS = 32
    NUM = 64
    SCROLL = 128


@record
class KeyEvent:
    """A key goes down or up."""

    key: Key
    is_pressed: bool
    is_repeat: bool
    """It was held already."""
    modifiers: Modifiers
    """After it."""


HELD: Final = {
    Key.LEFT_SHIFT: Modifiers.SHIFT,
    Key.RIGHT_SHIFT: Modifiers.SHIFT,
    Key.LEFT_CTRL: Modifiers.CTRL,
    Key.RIGHT_CTRL: Modifiers.CTRL,
    Key.LEFT_ALT: Modifiers.ALT,
    Key.RIGHT_ALT: Modifiers.ALTGR,
    Key.LEFT_META: Modifiers.META,
    Key.RIGHT_META: Modifiers.META,
}
LOCKS: Final = {Key.CAPS_LOCK: Modifiers.CAPS, Key.NUM_LOCK: Modifiers.NUM, Key.SCROLL_LOCK: Modifiers.SCROLL}
NO_MODIFIERS: Final = Modifiers(0)

E0, E1, BREAK = 0xE0, 0xE1, 0xF0
OVERRUN: Final = {1: 0xFF, 2: 0x00}
MADE_UP: Final = {1: {0xE02A, 0xE036}, 2: {0xE012, 0xE059}}
"""Shifts around the grey keys and Print Screen, so that old programs saw the keypad's codes: they mean nothing."""
SPECIAL: Final = {
    1: {0xE037: Key.PRINT_SCREEN, 0x54: Key.PRINT_SCREEN, 0xE046: Key.PAUSE},  # the plain one, with Alt, Pause with Ctrl
    2: {0xE07C: Key.PRINT_SCREEN, 0x84: Key.PRINT_SCREEN, 0xE07E: Key.PAUSE},
}
CODES: Final = {
    1: {key.set_1: key for key in Key} | SPECIAL[1],
    2: {key.set_2: key for key in Key} | SPECIAL[2],
}


class Decoder:
    """From the bytes of one keyboard to events.

    Bytes that are no code are skipped. When the keyboard says that it had to drop some, or `forget` is called, no key is held any more,
    without events of that; `overruns` counts these times. The locks are what their keys have made them: all off at first.

    Pause comes as pressed and released, since it says nothing when it is let go.

    Args:
        scan_set: 1 or 2, as the bytes arrive: with a controller that translates set 2, they are 1.
    """

    def __init__(self, scan_set: int) -> None:
        self.overruns = 0
        self.locks = NO_MODIFIERS
        self.held: set[Key] = set()
        self._prefix = 0
        self._is_break = False
        self.use(scan_set)

    @property
    def modifiers(self) -> Modifiers:
        """As they are now."""
        found = self.locks
        for key in self.held & HELD.keys():
            found |= HELD[key]
        return found

    def use(self, scan_set: int) -> None:
        """The bytes are of this set from now on, and no key is held. Raises: ValueError: neither 1 nor 2."""
        if scan_set not in CODES:
            raise ValueError(f"a decoder of scan code set {scan_set!r}: expected 1 or 2")
        self.scan_set = scan_set
        self.forget()

    def forget(self) -> None:
        """No key is held, and no code begun."""
        self.held.clear()
        self._begin_code()

    def feed(self, byte: int) -> tuple[KeyEvent, ...]:
        """What this byte completes: mostly one event, or none."""
        if byte == OVERRUN[self.scan_set] and not self._prefix:
            self.overruns += 1
            self.forget()
            return ()
        if byte in (E0, E1):
            self._begin_code(byte)
            return ()
        if self.scan_set == 2 and byte == BREAK:
            self._is_break = True
            return ()
        if self.scan_set == 1:
            self._is_break, byte = byte >= 0x80, byte & 0x7F
        code = self._prefix << 8 | byte
        if self._prefix == E1:  # two bytes follow
            self._prefix = code
            return ()
        is_break = self._is_break
        self._begin_code()
        if code >> 16 == E1:
            return (*self._press(CODES[self.scan_set][code]), *self._release(Key.PAUSE)) if self._is_pause(code, is_break) else ()
        key = CODES[self.scan_set].get(code)
        if key is None or code in MADE_UP[self.scan_set]:
            return ()
        if key is Key.PAUSE:
            return () if is_break else (*self._press(key), *self._release(key))
        return self._release(key) if is_break else self._press(key)

    def _is_pause(self, code: int, is_break: bool) -> bool:
        return not is_break and CODES[self.scan_set].get(code) is Key.PAUSE

    def _begin_code(self, prefix: int = 0) -> None:
        self._prefix = prefix
        self._is_break = False

    def _press(self, key: Key) -> tuple[KeyEvent, ...]:
        is_repeat = key in self.held
        self.held.add(key)
        if key in LOCKS and not is_repeat:
            self.locks ^= LOCKS[key]
        return (KeyEvent(key, True, is_repeat, self.modifiers),)

    def _release(self, key: Key) -> tuple[KeyEvent, ...]:
        if key not in self.held:
            return ()
        self.held.discard(key)
        return (KeyEvent(key, False, False, self.modifiers),)
