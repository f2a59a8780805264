"""Writes TensorBoard event files with torch's SummaryWriter, and what tensorboard itself reads back from them.

Usage: python -P tensorboard_events.py DIRECTORY
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter


def told(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a log directory by its tag, those included that are tensors, as tensorboard reads them."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    found = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [(e.step, make_ndarray(e.tensor_proto).item()) for e in accumulator.Tensors(tag)]
    return found


def plain(directory: Path) -> None:
    """Scalars of both kinds among histograms, texts and pictures; values that are not finite."""
    with SummaryWriter(str(directory)) as writer:
        writer.add_text("notes", "words " * 500, 0)
        for step in range(0, 300, 3):
            writer.add_scalar("train/loss", 1.0 / (step + 1), step)
            writer.add_scalar("train/lr", 1e-3 * 0.99**step, step, new_style=True)
            writer.add_scalar("exact", step / 3, step, new_style=True, double_precision=True)
            if step % 30 == 0:
                writer.add_histogram("weights", torch.randn(100), step)
                writer.add_image("picture", torch.rand(3, 200, 200), step)
                writer.add_scalar("val/loss", -1.0 / (step + 1), step // 30)
        for step, value in ((300, math.nan), (301, math.inf), (302, -math.inf)):
            writer.add_scalar("odd", value, step)


def restarted(directory: Path) -> None:
    """A training that went back to step 50 and said so."""
    with SummaryWriter(str(directory), filename_suffix=".a") as writer:
        for step in range(100):
            writer.add_scalar("loss", 100.0 - step, step)
            writer.add_scalar("only_before", float(step), step)
    with SummaryWriter(str(directory), filename_suffix=".b", purge_step=50) as writer:
        for step in range(50, 70):
            writer.add_scalar("loss", 0.0 - step, step)
    first, second = sorted(directory.iterdir(), key=lambda path: path.name.endswith(".b"))
    # Both may have been opened within one second, and names tell the order.
    number = int(first.name.split(".")[3])
    second.rename(second.with_name(second.name.replace(f".{number}.", f".{number + 60}.", 1)))


def parts(directory: Path) -> None:
    """A log directory for training and one for validation, with one tag."""
    for part, base in (("train", 1.0), ("validation", 2.0)):
        with SummaryWriter(str(directory / part)) as writer:
            for epoch in range(5):
                writer.add_scalar("epoch_loss", base - epoch / 10, epoch)


def main(directory: Path) -> None:
    """Writes all of them."""
    plain(directory / "plain")
    restarted(directory / "restarted")
    parts(directory / "parts" / "logs")
    expected: dict[str, Any] = {
        "plain": told(directory / "plain"),
        "restarted": told(directory / "restarted"),
        "train": told(directory / "parts" / "logs" / "train"),
        "validation": told(directory / "parts" / "logs" / "validation"),
    }
    (directory / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
