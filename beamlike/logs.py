"""Logging from inside the scheduler, where a program's handler that raises must not do harm."""

from __future__ import annotations

import logging
import traceback
from typing import Any


def log(logger: logging.Logger, level: int, text: str, *args: Any, **options: Any) -> None:
    """As `logger.log`; what the program's handlers and filters raise is printed, as logging itself does with its own faults."""
    try:
        logger.log(level, text, *args, **options)
    except Exception:  # noqa: BLE001 - the program's code may raise anything
        if logging.raiseExceptions:
            traceback.print_exc()
