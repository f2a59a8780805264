"""What a training runs with, and what is another when it goes on."""

from __future__ import annotations

import pytest
import torch

from ckpt.saving.capture.environment import differences, environment_of


def test_it_names_versions_threads_and_device() -> None:
    found = environment_of(torch.nn.Linear(2, 2))
    assert found["torch"] == str(torch.__version__)
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert environment_of({"a": torch.nn.Linear(2, 2, device="meta")})["device"] == "meta"
    assert environment_of({"n": 1, "w": torch.ones(1)})["device"] == "cpu"
    assert "device" not in environment_of(None)


@pytest.mark.parametrize(
    ("saved", "now", "told"),
    [
        ({"torch": "2.1"}, {"torch": "2.1"}, ()),
        ({"torch": "2.1"}, {"torch": "2.2"}, ("saved with torch 2.1, now torch 2.2",)),
        ({"threads": 1, "cpu": "AVX2"}, {"threads": 8, "cpu": "AVX512"}, 2),
        ({}, {"torch": "2.2"}, ()),
        ({"strange": 1}, {"strange": 2}, ()),
    ],
)
def test_differences_are_told(saved: dict[str, object], now: dict[str, object], told: object) -> None:
    found = differences(saved, now)
    assert len(found) == told if isinstance(told, int) else found == told
