"""The public surface of the SDK is exactly what `__init__` says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ckpt


def test_all_is_sorted_and_complete() -> None:
    assert list(ckpt.__all__) == sorted(ckpt.__all__, key=str.casefold) or list(ckpt.__all__) == sorted(ckpt.__all__)
    assert len(set(ckpt.__all__)) == len(ckpt.__all__)


@pytest.mark.parametrize("name", sorted(ckpt.__all__))
def test_each_name_resolves(name: str) -> None:
    assert getattr(ckpt, name) is not None


def test_nothing_else_is_public_at_start() -> None:
    code = (
        "import ckpt, types, sys\n"
        "extra = [n for n in dir(ckpt) if not n.startswith('_') and n not in ckpt.__all__\n"
        "         and not isinstance(getattr(ckpt, n), types.ModuleType)]\n"
        "print(extra)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error_that_helps() -> None:
    with pytest.raises(AttributeError, match="TrainingStat"):
        _ = ckpt.TrainingStat  # type: ignore[attr-defined]
