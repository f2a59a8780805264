"""Files of every layout, made once and kept: each has to load, into a training that then goes on."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpt
from ckpt.exceptions import FormatError
from ckpt.saving.envelope import from_envelope, read_envelope, to_envelope
from ckpt.saving.restore.loading import read_file
from ckpt.state import values

torch.set_num_threads(1)

DATA = Path(__file__).parents[3] / "data"
FILES = sorted(path.name for path in DATA.glob("*.pt"))
WITH_OPTIMIZER = [name for name in FILES if not name.startswith("weights")]

_spec = importlib.util.spec_from_file_location("make_data", DATA / "make.py")
assert _spec is not None and _spec.loader is not None
make: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def test_there_are_files_of_all_layouts() -> None:
    assert len(FILES) == 9


@pytest.mark.parametrize("name", FILES)
def test_the_weights_of_every_layout_come_back(name: str) -> None:
    expected, _, _ = make.training()
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    ckpt.load_checkpoint(DATA / name, {"model": fresh})
    for key, value in expected.state_dict().items():
        assert torch.allclose(fresh.state_dict()[key], value, atol=1e-5), key


@pytest.mark.parametrize("name", WITH_OPTIMIZER)
def test_optimizer_scheduler_and_counts_of_every_layout_come_back(name: str) -> None:
    _, expected, scheduler = make.training()
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    again = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    trainer = {"model": model, "optimizer": optimizer, "scheduler": again, "epoch": 0, "global_step": 0}
    report = ckpt.load_checkpoint(DATA / name, trainer, strict=name != "v1.pt")
    assert (report.optimizers, report.schedulers, report.global_step, trainer["global_step"]) == (1, 1, 7, 7)
    assert again.state_dict()["last_epoch"] == scheduler.last_epoch == 7
    assert optimizer.param_groups[0]["lr"] == expected.param_groups[0]["lr"]
    assert optimizer.state_dict()["state"][0]["step"] == 7
    momentum = optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.allclose(momentum, expected.state_dict()["state"][0]["exp_avg"], atol=1e-5)


def test_the_present_layout_holds_everything_and_loads_with_plain_torch() -> None:
    plain = torch.load(DATA / "v1.pt", weights_only=True)
    assert plain["capture_report"]["captured"] == [
        *("model", "optimizer", "scheduler", "config", "choice_rng"),
        *("rng.python", "rng.numpy", "rng.torch", "ema"),
    ]
    content = read_file(DATA / "v1.pt")
    assert content.migration is None
    assert content.names == {"optimizers": ["main"]}
    assert content.config_snapshot == {"lr": 0.1, "layers": (3, 2, 1)}
    generator, expected = np.random.default_rng(0), np.random.default_rng(make.SEED)
    ckpt.load_checkpoint(DATA / "v1.pt", {"model": make.training()[0], "choice_rng": generator}, strict=False)
    assert generator.random() == expected.random()


def test_positions_in_the_data_come_back_in_the_midst_of_an_epoch() -> None:
    """A position is a promise about the order of the data: what comes next is told by the file's seeds and counts."""
    loaders = make.loaders()
    report = ckpt.load_checkpoint(DATA / "v1-loaders.pt", {"model": make.training()[0], "loaders": loaders})
    assert (report.loaders, report.phase, report.next_epoch) == (2, "training", 2)
    train, val = loaders["train"], loaders["val"]
    assert (train.epoch, train.batch_idx, val.epoch) == (2, 4, 2)
    assert [(name, batch.tolist()) for name, batch in train] == [
        *[("a", [10, 1]), ("a", [9, 16]), ("a", [8, 2])],
        *[("b", [101, 103, 102]), ("a", [18, 4])],
    ]
    assert [batch.tolist() for batch in val] == [[201, 204], [202, 205], [203, 200]]
    assert next(iter(train))[1].tolist() == [15, 11]
    assert next(iter(val)).tolist() == [203, 200]


@pytest.mark.parametrize(
    ("name", "layout", "found", "missing"),
    [
        ("v1-without-report.pt", "without a capture report", "loaders from dataloader_manager_state", "scaler"),
        ("v1-document.pt", "without a capture report", "choice_rng from choice_rng_state", "model_config"),
        (
            "v1-first-writer.pt",
            "as its first writer has it",
            "loaders from resume_state.dataloader_manager_state",
            "scaler",
        ),
        ("single-optimizer.pt", "a single optimizer", "optimizer from optimizer_state_dict", "rng"),
        ("weights.pt", "another maker", "model from the file itself", "optimizer"),
    ],
)
def test_older_layouts_are_told_of(
    name: str, layout: str, found: str, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ckpt.saving")
    migration = read_file(DATA / name).migration
    assert migration is not None
    assert layout in migration.layout
    assert missing in migration.missing
    text = str(migration)
    assert found in text
    assert text.endswith("save once to have it in the present layout")
    assert text in caplog.text


def test_members_of_enumerations_are_read_by_their_names_too() -> None:
    """The first releases of Python 3.11 pickle them so."""
    by_name, by_value = (read_envelope(DATA / f"v1-first-writer{end}.pt") for end in ("-by-name", ""))
    assert by_name["resume_state"] == by_value["resume_state"]
    assert by_name["resume_state"]["phase"] == "train_batch_end"


def test_pickles_inside_of_a_file_are_named_and_not_run() -> None:
    """Regression: random states were pickled bytes as hexadecimal text, and were unpickled."""
    content = read_file(DATA / "v1-first-writer.pt")
    assert content.migration is not None
    assert set(content.migration.unread) == {"resume_state.rng", "resume_state.choice_rng"}
    assert content.random is None
    assert content.state.metrics == {"val_loss": 0.25}
    assert content.config_snapshot == {"root_dir": "runs", "max_checkpoints": 5}
    assert content.epoch_finished is False
    assert content.loaders == [
        {"id": 0, "name": "a", "batch_idx": 2, "exhausted": False, "sampler_state": None, "dataset_state": None}
    ]


def test_arrays_and_generators_of_the_document_s_layout_come_back() -> None:
    content = read_file(DATA / "v1-document.pt")
    assert content.loaders is not None
    assert content.loaders[0]["dataset_state"] == {"position": 11}
    assert content.loader_manager is not None
    assert content.loader_manager["train_iterator_state"]["loader_cycles"] == {0: 0, 1: 1}
    assert content.metrics_history == {"val_loss": [0.5, 0.25]}
    assert content.scaler["scale"] == 8.0
    generator = np.random.RandomState(0)
    generator.set_state(content.choice_random)
    assert generator.rand() == np.random.RandomState(make.SEED).rand()
    before = np.random.get_state()
    try:
        report = ckpt.load_checkpoint(DATA / "v1-document.pt", {"model": make.training()[0]})
        assert report.random
        assert np.random.rand() == np.random.RandomState(make.SEED).rand()
    finally:
        np.random.set_state(before)


@pytest.mark.parametrize("name", FILES)
def test_saved_once_a_file_of_any_layout_is_of_the_present_one(name: str, tmp_path: Path) -> None:
    content = read_file(DATA / name)
    torch.save(to_envelope(content), tmp_path / "again.pt")
    again = read_file(tmp_path / "again.pt")
    for part in ("optimizers", "schedulers", "scaler", "random", "loaders", "captured", "config_snapshot"):
        assert values.same(getattr(again, part), getattr(content, part)), part
    assert values.same(dict(again.weights), dict(content.weights))


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, True, None, [1]])
def test_an_unknown_version_is_refused_with_both_versions(version: Any) -> None:
    with pytest.raises(FormatError, match=r"has format .*, and this version reads 1"):
        from_envelope({"format_version": version, "model_state_dict": {}}, "a.pt")


def test_a_missing_version_is_the_first() -> None:
    assert from_envelope({"model_state_dict": {}, "resume_state": {}}, "a.pt").weights == {}
