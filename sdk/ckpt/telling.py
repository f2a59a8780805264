"""How a training is warned of what goes wrong beside it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

_OURS = str(Path(__file__).parent) + os.sep


def one_line(error: BaseException) -> str:
    """An error with its hint, as a line of a log has it."""
    return "; ".join(str(error).splitlines()) or type(error).__name__


def tell(problem: str, log: logging.Logger) -> None:
    """Logs a problem, and warns of it."""
    log.warning("%s", problem)
    warn(problem)


def warn(problem: str) -> None:
    """Warns at the line of the training that called us."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(problem, RuntimeWarning, stacklevel=level)
