"""Steps and epochs in names: of the directory of a step, of what is not whole, of what its slashes cut."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt import scan
from ckpt.formats import Inspection
from ckpt.records import Checkpoint
from ckpt.scan.called import completed
from ckpt.scan.finding import is_cut, run_above


def found(directory: Path) -> dict[str, Checkpoint]:
    return {os.path.relpath(c.path, directory): c for c in scan.read_run(directory).checkpoints}


def aged(directory: Path) -> None:
    for path in directory.rglob("*"):
        os.utime(path, (time.time() - 1000,) * 2)
    os.utime(directory, (time.time() - 1000,) * 2)


def test_the_directory_of_a_step_tells_it_of_what_lies_in_it(tmp_path: Path) -> None:
    for step in (10, 20):
        directory = tmp_path / f"step-{step:08}"
        directory.mkdir()
        torch.save({"model": {"w": torch.ones(2)}}, directory / "lit_model.pth")
    assert {c.step for c in found(tmp_path).values()} == {10, 20}


def test_several_files_of_an_epoch_know_it_and_are_asked_for_all_of_their_states(tmp_path: Path) -> None:
    for epoch in (0, 1):
        directory = tmp_path / f"epoch{epoch}"
        directory.mkdir()
        save_file({"w": torch.ones(2)}, directory / "decoder.safetensors")
        torch.save({"state": {}, "param_groups": [{"lr": 0.1}]}, directory / "state.pt")
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "final.pt")
    checkpoints = found(tmp_path)
    assert {name: c.epoch for name, c in checkpoints.items()} == {
        "epoch0/decoder.safetensors": 0,
        "epoch1/decoder.safetensors": 1,
        "final.pt": None,
    }
    assert [c.label for c in checkpoints.values()].count("export") == 1


@pytest.mark.parametrize(
    ("name", "framework", "step", "epoch"),
    [
        ("40.orbax-checkpoint-tmp", "orbax", 40, None),
        ("40.orbax-checkpoint-tmp-1700000000", "orbax", 40, None),
        ("tmp-checkpoint-500", "transformers", 500, None),
        ("checkpoints/epoch=3-step=12.ckpt", "lightning", 12, 3),
        ("template.pt", "torch", None, None),
    ],
)
def test_what_is_not_whole_is_asked_for_its_name(
    name: str, framework: str, step: int | None, epoch: float | None
) -> None:
    unread = Inspection(path=f"/x/{name}", framework=framework, state="incomplete")
    told = completed(name, unread)
    assert (told.step, told.epoch) == (step, epoch)


def test_what_the_content_says_goes_before_a_directory() -> None:
    told = completed("step_20/model.pt", Inspection(path="/x/step_20/model.pt", step=21))
    assert (told.step, told.epoch) == (21, None)


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("checkpoints/epoch=1-val", ""),
        ("checkpoints/best-epoch=01-step=200-val", ""),
        ("epoch=1-val/acc=0.83-val", ""),
        ("acc=0.83-val", "acc=0.83-val"),
        ("lr=0.1,epoch=10", "lr=0.1,epoch=10"),
        ("lr=0.1,epoch=10/checkpoints", "lr=0.1,epoch=10"),
        ("epochs=10-adam", "epochs=10-adam"),
    ],
)
def test_a_directory_named_like_the_beginning_of_a_checkpoint_is_a_part(path: str, run: str) -> None:
    assert run_above(f"/top/{path}", "/top") == f"/top/{run}".rstrip("/")
    assert is_cut(path) is (not run)


def test_the_run_is_as_far_as_the_newest_checkpoint_that_knows(tmp_path: Path) -> None:
    torch.save({"global_step": 30, "model": {"w": torch.ones(2)}}, tmp_path / "step_30.pt")
    os.utime(tmp_path / "step_30.pt", (time.time() - 500,) * 2)
    (tmp_path / "other.pt").write_bytes(b"PK\x03\x04")
    assert scan.read_run(tmp_path).run.step == 30


def test_an_empty_directory_among_checkpoints_is_one_that_was_only_begun(tmp_path: Path) -> None:
    for step in (12, 24):
        directory = tmp_path / f"checkpoint-{step}"
        directory.mkdir()
        save_file({"w": torch.ones(2)}, directory / "model.safetensors")
        (directory / "config.json").write_text("{}")
        (directory / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    aged(tmp_path)
    before = scan.signature(tmp_path)
    (tmp_path / "checkpoint-36").mkdir()
    (tmp_path / "runs").mkdir()
    assert scan.signature(tmp_path) != before
    begun = found(tmp_path)["checkpoint-36"]
    assert (begun.state, begun.step, begun.problems) == ("writing", 36, ())
    os.utime(tmp_path / "checkpoint-36", (time.time() - 1000,) * 2)
    view = scan.read_run(tmp_path)
    assert [(c.step, c.state) for c in view.checkpoints if c.state != "complete"] == [(36, "incomplete")]
    assert {c.step: c.problems for c in view.checkpoints}[36] == ("it is empty",)
    assert view.run.latest == view.checkpoints[0].id and view.checkpoints[0].step == 24
    assert scan.run_of(tmp_path / "checkpoint-36") == (tmp_path, tmp_path / "checkpoint-36")
