"""``mms.log``: loggers for service code (MMS 0.4: mms/log.py).

MMS gave each logger a coloured handler or a rotating file. Here records go to the function's own log, one JSON line each, so a logger is
only named and given its level; ``filename`` and rotation mean nothing where the disk is not kept.
"""

from __future__ import annotations

import logging
from typing import Any

LOG_LEVEL_DICT = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "NOTSET": logging.NOTSET,
}


class _Formatter(logging.Formatter):
    """The name that MMS's formatter had; plain here, colours only garble a log that is not a terminal."""

    def __init__(self, colored: bool = False) -> None:
        super().__init__("[%(levelname)s %(asctime)s PID:%(process)d %(pathname)s:%(funcName)s:%(lineno)d] %(message)s")
        self.colored = colored


def get_logger(
    name: str | None = None,
    filename: str | None = None,
    level: str | int = "NOTSET",
    rotate_value: str = "H",
    rotate_interval: int = 1,
) -> logging.Logger:
    """A logger by its name, with its level set where both are given.

    Args:
        name: The logger's name; the root logger where there is none.
        filename: Accepted and not used, as are ``rotate_value`` and ``rotate_interval``.
        level: A key of ``LOG_LEVEL_DICT``, or one of logging's numbers.
        rotate_value: Not used.
        rotate_interval: Not used.

    Raises:
        KeyError: No such level.
    """
    logger = logging.getLogger(name)
    if name is not None:
        logger.setLevel(LOG_LEVEL_DICT[level] if isinstance(level, str) else level)
    return logger


def getLogger(
    name: str | None = None, filename: str | None = None, *_: Any, level: str | int = "NOTSET"
) -> logging.Logger:
    """The older name of ``get_logger``."""
    return get_logger(name, filename, level)
