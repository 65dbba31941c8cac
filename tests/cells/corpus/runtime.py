"""Ways of Python's own: around its names, its frames and its collector, and by what it loads."""

from __future__ import annotations

import gc
import importlib
import pickle
import sys
from types import CodeType, FrameType
from typing import Any

from walled import Prey, Secret, attack


@attack("nothing")
def find_a_secret_through_the_collector(prey: Prey) -> object:
    """What a node has in memory is not in a zygote's, nor in its forks'."""
    return [found.text for found in gc.get_objects() if isinstance(found, Secret)]


@attack("nothing")
def find_a_secret_through_the_frames(prey: Prey) -> object:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        secret = frame.f_locals.get("secret")
        if isinstance(secret, Secret):
            return secret.text
        frame = frame.f_back
    return None


@attack("nothing")
def find_a_secret_through_who_refers_to_its_class(prey: Prey) -> object:
    return [found for found in gc.get_referrers(Secret) if isinstance(found, Secret)]


@attack("EPERM")
def open_a_file_without_a_name(prey: Prey) -> object:
    """From a tuple to the classes, to a function's globals, to `open`."""
    base: Any = ().__class__.__base__
    (found,) = (each for each in base.__subclasses__() if each.__name__ == "_wrap_close")
    return found.__init__.__globals__["open"]("/etc/passwd", 0) >= 0


@attack("EPERM")
def unpickle_an_attack(prey: Prey) -> object:
    return pickle.loads(b"cio\nopen\n(S'/etc/passwd'\ntR.").read().startswith("root:")


@attack("nothing")
def unpickle_a_shell(prey: Prey) -> object:
    return pickle.loads(b"cposix\nsystem\n(S'exit 7'\ntR.") == 7 << 8


@attack("ModuleNotFoundError")
def import_what_is_on_the_disk(prey: Prey) -> object:
    return importlib.import_module("xmlrpc.server")


@attack("EPERM")
def compile_a_file(prey: Prey) -> object:
    with open(importlib.__file__, "rb") as file:
        return compile(file.read(), "importlib", "exec")


@attack("SIGSEGV", unlocked="SIGSEGV")
def run_bytecode_of_its_own_making(prey: Prey) -> object:
    """Only it ends."""
    code: CodeType = (lambda: None).__code__
    exec(code.replace(co_code=bytes([100, 255, 83, 0]) * 64, co_consts=()))
    return False


@attack("EPERM")
def open_a_file_by_a_hook(prey: Prey) -> object:
    sys.addaudithook(lambda *_: None)
    return open("/etc/passwd").read(1)


@attack("RecursionError", unlocked="RecursionError")
def recurse_for_ever(prey: Prey) -> object:
    """Only it ends."""

    def deeper() -> object:
        return deeper()

    return deeper()
