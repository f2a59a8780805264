"""TensorBoard's event files: what tensorboard itself reads back from files of torch and Lightning, and broken ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ckpt.scan.live import curves_of, reached
from ckpt.scan.live.forms.crc32c import crc32c, masked

Produced = Callable[[str], Path]


def same(curve: Sequence[tuple[int, float]], told: Sequence[Sequence[float]]) -> bool:
    """Whether a curve is what the library told, NaN equal to itself."""
    return [(step, str(value)) for step, value in curve] == [(step, str(value)) for step, value in told]


@pytest.fixture
def events(produced: Produced) -> tuple[Path, dict[str, Any]]:
    directory = produced("tensorboard_events")
    return directory, json.loads((directory / "expected.json").read_text())


@pytest.mark.parametrize("name", ["plain", "restarted"])
def test_scalars_are_what_tensorboard_reads_back(events: tuple[Path, dict[str, Any]], name: str) -> None:
    directory, expected = events
    curves = curves_of(directory / name, 10_000)
    assert sorted(curves) == sorted(expected[name])
    for tag, told in expected[name].items():
        assert same(curves[tag], told), tag


def test_values_that_are_not_finite_are_kept(events: tuple[Path, dict[str, Any]]) -> None:
    odd = curves_of(events[0] / "plain", 100)["odd"]
    assert math.isnan(odd[0][1]) and [value for _, value in odd[1:]] == [math.inf, -math.inf]


def test_directories_for_training_and_validation_lead_the_tags(events: tuple[Path, dict[str, Any]]) -> None:
    directory, expected = events
    curves = curves_of(directory / "parts", 100)
    for part in ("train", "validation"):
        assert same(curves[f"{part}/epoch_loss"], expected[part]["epoch_loss"])
    assert len(curves) == 2


def test_lightnings_events_are_what_tensorboard_reads_back(produced: Produced) -> None:
    directory = produced("lightning_metrics")
    expected = json.loads((directory / "expected.json").read_text())["events"]
    curves = curves_of(directory / "events" / "version_0", 1000)
    assert set(curves) == set(expected) - {"epoch"}
    for tag, curve in curves.items():
        assert same(curve, expected[tag]), tag


def test_the_last_scalars_tell_how_far_a_training_came(events: tuple[Path, dict[str, Any]], produced: Produced) -> None:
    directory, expected = events
    found = reached(directory / "restarted")
    assert found is not None and (found.step, found.loss) == tuple(expected["restarted"]["loss"][-1])
    lightning = reached(produced("lightning_metrics") / "events" / "version_0")
    assert lightning is not None and (lightning.step, lightning.epoch) == (23, 2)


def test_the_end_of_a_long_file_is_found_without_reading_it(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5_000):
            writer.add_scalar("loss", 1.0 + step, step)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 3 * (64 << 10)
    found = reached(tmp_path)
    assert found is not None and (found.step, found.loss) == (4_999, 5_000.0)


def test_a_file_cut_anywhere_gives_a_beginning_of_its_curves(
    events: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, expected = events
    source = next(path for path in (directory / "restarted").iterdir() if path.name.endswith(".b"))
    whole = source.read_bytes()
    told = [tuple(point) for point in expected["restarted"]["loss"] if point[0] >= 50]
    seen = set()
    for length in range(0, len(whole), 7):
        (tmp_path / source.name).write_bytes(whole[:length])
        curve = curves_of(tmp_path, 1000).get("loss", [])
        assert curve == told[: len(curve)], length
        seen.add(len(curve))
    assert len(seen) > 15


def test_a_record_with_a_flipped_bit_is_left_out(events: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    source = next(path for path in (events[0] / "restarted").iterdir() if path.name.endswith(".b"))
    whole = bytearray(source.read_bytes())
    told = dict(events[1]["restarted"]["loss"])
    for position in range(0, len(whole), 3):
        damaged = whole.copy()
        damaged[position] ^= 0x10
        (tmp_path / source.name).write_bytes(damaged)
        for step, value in curves_of(tmp_path, 1000).get("loss", []):
            assert told[step] == value, position


def test_an_event_file_that_grows_is_read_on(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path), flush_secs=3600)
    for batch in range(3):
        for step in range(batch * 10, batch * 10 + 10):
            writer.add_scalar("loss", float(step), step)
        writer.flush()
        assert curves_of(tmp_path, 1000)["loss"] == [(step, float(step)) for step in range(batch * 10 + 10)]
    writer.close()


def test_a_record_that_claims_to_be_huge_is_stepped_over(events: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    source = next(path for path in (events[0] / "restarted").iterdir() if path.name.endswith(".b"))
    for length in (1 << 62, (1 << 64) - 1, 1 << 40):
        header = length.to_bytes(8, "little")
        huge = header + masked(header).to_bytes(4, "little")
        (tmp_path / source.name).write_bytes(source.read_bytes() + huge)
        assert len(curves_of(tmp_path, 1000)["loss"]) == 20
        (tmp_path / source.name).write_bytes(huge + source.read_bytes())
        assert curves_of(tmp_path, 1000) == {}
    with (tmp_path / source.name).open("wb") as stream:
        header = (1 << 30).to_bytes(8, "little")
        stream.write(header + masked(header).to_bytes(4, "little"))
        stream.seek((1 << 30) + 16)
        stream.write(source.read_bytes())
    assert len(curves_of(tmp_path, 1000)["loss"]) == 20


def test_random_bytes_are_no_events(tmp_path: Path) -> None:
    import random

    chance = random.Random(5)
    for number in range(200):
        data = chance.randbytes(chance.randrange(400))
        header = len(data).to_bytes(8, "little")
        framed = header + masked(header).to_bytes(4, "little") + data + masked(data).to_bytes(4, "little")
        (tmp_path / "events.out.tfevents.1.x").write_bytes(framed * 3)
        curves_of(tmp_path, 100)
        reached(tmp_path)
        assert number < 200


def test_a_later_file_replaces_what_an_earlier_one_abandoned(
    events: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(events[0] / "restarted", tmp_path / "runs" / "Jan01_00-00-00_host")
    assert same(curves_of(tmp_path, 1000)["loss"], events[1]["restarted"]["loss"])


def test_files_below_a_directory_of_logs_belong_to_the_run_unless_they_are_another_ones(
    events: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, expected = events
    shutil.copytree(directory / "parts" / "logs", tmp_path / "logs" / "fit" / "20240101-120000")
    shutil.copytree(directory / "plain", tmp_path / "logs" / "other")
    (tmp_path / "logs" / "other" / "checkpoints").mkdir()
    curves = curves_of(tmp_path, 100)
    assert sorted(curves) == ["train/epoch_loss", "validation/epoch_loss"]
    assert same(curves["train/epoch_loss"], expected["train"]["epoch_loss"])
    (tmp_path / "logs" / "other" / "checkpoints").rmdir()
    assert "train/loss" in curves_of(tmp_path, 100)
    (tmp_path / "logs" / "other" / "model.pt").touch()
    assert "train/loss" not in curves_of(tmp_path, 100)


def test_the_checksum_is_the_one_of_castagnoli() -> None:
    # The check value and the all-zero vector of RFC 3720.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
