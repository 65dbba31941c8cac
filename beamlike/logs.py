"""Logging from inside the scheduler, where a program's handler that raises must not do harm."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any


def log(logger: logging.Logger, level: int, text: str, *args: Any, **options: Any) -> None:
    """As `logger.log`; what the program's handlers and filters raise goes to `sys.excepthook` (if `logging.raiseExceptions`)."""
    try:
        logger.log(level, text, *args, **options)
    except Exception as fault:  # noqa: BLE001 - the program's code may raise anything
        if logging.raiseExceptions:
            with suppress(Exception):  # a hook that logs would come to the same handler
                sys.excepthook(type(fault), fault, fault.__traceback__)
