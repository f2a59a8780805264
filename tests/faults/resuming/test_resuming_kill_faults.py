"""SIGKILL at random moments of real trainings: what they write afterwards is what the uninterrupted one wrote.

Each training is killed once by default; CKPTD_FAULT_ROUNDS kills are shared among them.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

KILLS = max(1, int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2) // 5)
AT_ONCE = 3


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["dense", "convolving", "gpt", "mixed", "stream"])
def test_a_training_that_is_killed_goes_on_to_the_bit(
    name: str, killing: Any, trainings_at: Any, chance: random.Random
) -> None:
    result = killing.Comparison()
    number = 0
    while result.kills < KILLS:
        result += killing.interrupted(
            trainings_at, name, "ours", f"{name}-{number}", min(AT_ONCE, KILLS - result.kills), chance
        )
        number += 1
        assert not result.different, f"{len(result.different)} of {result.lines} lines: {result.different[:3]}"
        assert not result.listed
    assert result.bits == 0 and result.of_bits > 0
    print(f"{name}: {result.kills} kills, {result.lines} lines, {result.bits} of {result.of_bits} bits differ")


def test_what_a_training_does_otherwise_after_a_kill_is_seen(
    killing: Any, trainings_at: Any, chance: random.Random
) -> None:
    result = killing.Comparison()
    # A kill behind the save of an epoch's end changes nothing even without a place in the data.
    for number in range(5):
        result += killing.interrupted(trainings_at, "dense", "plain", f"dense-plain-{number}", 1, chance)
        if result.different:
            break
    assert result.different and result.other_data and result.bits
