"""Trainings to kill, one place of them a session."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def killing() -> Iterator[Any]:
    """The module beside this one."""
    sys.path.insert(0, str(HERE))
    try:
        import killing

        yield killing
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def trainings_at(killing: Any) -> Iterator[Any]:
    """Where trainings are to be had."""
    base = Path(tempfile.mkdtemp(prefix="ck-"))
    try:
        with killing.place(base) as place:
            yield place
    finally:
        shutil.rmtree(base, ignore_errors=True)
