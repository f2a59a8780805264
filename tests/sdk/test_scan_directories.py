"""Checkpoints that are directories: whose run they are in, seen from the root, from below, and by their paths."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import formats, scan
from ckpt.exceptions import AddressError

STRACE = shutil.which("strace")


def hugging_face(directory: Path, step: int, *, whole: bool = True) -> Path:
    directory.mkdir(parents=True)
    save_file({"w": torch.full((64,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    if whole:
        state = {"global_step": step, "epoch": 1.0, "log_history": []}
        (directory / "trainer_state.json").write_text(json.dumps(state))
    return directory


def deep_speed(directory: Path, step: int) -> Path:
    """A tag directory as `save_checkpoint` of its engine writes it, with the file that names it."""
    directory.mkdir(parents=True)
    model = {"module": {"w": torch.ones(4)}, "global_steps": step, "dp_world_size": 1, "mp_world_size": 1}
    torch.save({**model, "ds_version": "0.16.0", "ds_config": {}}, directory / "mp_rank_00_model_states.pt")
    (directory.parent / "latest").write_text(directory.name)
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    hugging_face(root / "out" / "checkpoint-500", 500)
    inside = hugging_face(root / "out" / "checkpoint-1000", 1000)
    deep_speed(inside / "global_step1000", 1000)
    save_file({"w": torch.ones(4)}, root / "out" / "model.safetensors")
    hugging_face(root / "parts" / "checkpoints" / "checkpoint-7", 7)
    torch.save({"global_step": 8}, root / "parts" / "checkpoints" / "loose.pt")
    hugging_face(root / "sweep" / "run-0" / "checkpoint-2", 2)
    hugging_face(root / "sweep" / "run-1" / "checkpoint-2", 2)
    deep_speed(root / "ds" / "global_step10", 10)
    (root / "out" / "tmp-checkpoint-1500").mkdir()
    save_file({"w": torch.ones(4)}, root / "out" / "tmp-checkpoint-1500" / "model.safetensors")
    return root


def runs(survey: scan.Survey, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in survey.runs]


def test_the_run_of_a_checkpoint_directory_is_the_directory_above_it(tree: Path) -> None:
    survey = scan.survey(tree)
    assert runs(survey, tree) == ["ds", "out", "parts", "sweep/run-0", "sweep/run-1"]
    assert survey.directories == 14  # nothing inside a checkpoint is walked into
    out = scan.read_run(tree / "out", root=tree)
    found = {os.path.relpath(c.path, tree / "out"): c for c in out.checkpoints}
    assert found.keys() == {"checkpoint-500", "checkpoint-1000", "model.safetensors"}
    assert (found["checkpoint-1000"].step, found["checkpoint-1000"].framework) == (1000, "transformers")
    assert found["checkpoint-500"].files == (str(tree / "out" / "checkpoint-500"),)
    assert out.run.framework == "transformers"
    parts = scan.read_run(tree / "parts", root=tree)
    assert sorted(c.step or 0 for c in parts.checkpoints) == [7, 8]
    deep = scan.read_run(tree / "ds", root=tree)
    assert [(c.framework, c.step, c.held_by) for c in deep.checkpoints] == [("deepspeed", 10, ("named by latest",))]


def test_every_subtree_gives_what_the_whole_walk_gives_there(tree: Path) -> None:
    whole = scan.survey(tree)
    for directory, _, _ in os.walk(tree):
        below = scan.survey(tree, below=Path(directory))
        above = [run for run in whole.runs if run == directory or run.startswith(f"{directory}/")]
        holder = [run for run in whole.runs if directory.startswith(f"{run}/")]
        if "tmp-" in directory:
            assert below.runs == ()
        elif above:
            assert set(above) <= set(below.runs) <= {*above, *holder}
        elif holder:
            assert list(below.runs) == holder, directory
        else:
            assert below.runs == (), directory


def test_a_root_that_is_a_checkpoint_is_a_run_of_itself(tree: Path) -> None:
    root = tree / "out" / "checkpoint-1000"
    assert scan.survey(root).runs == (str(root),)
    assert scan.survey(root, below=root / "global_step1000").runs == (str(root),)
    view = scan.read_run(root, root=root)
    assert [(c.path, c.step) for c in view.checkpoints] == [(str(root), 1000)]
    (root / "trainer_state.json").unlink()
    assert scan.survey(root).runs == (str(root),)


@pytest.mark.parametrize(
    ("path", "run", "checkpoint"),
    [
        ("out", "out", None),
        ("out/checkpoint-500", "out", "out/checkpoint-500"),
        ("out/checkpoint-500/model.safetensors", "out", "out/checkpoint-500"),
        ("out/checkpoint-1000/global_step1000", "out", "out/checkpoint-1000"),
        ("out/checkpoint-1000/global_step1000/mp_rank_00_model_states.pt", "out", "out/checkpoint-1000"),
        ("out/checkpoint-1000/global_step1000/gone.pt", None, None),
        ("out/model.safetensors", "out", "out/model.safetensors"),
        ("parts", "parts", None),
        ("parts/checkpoints", "parts", None),
        ("parts/checkpoints/checkpoint-7", "parts", "parts/checkpoints/checkpoint-7"),
        ("parts/checkpoints/loose.pt", "parts", "parts/checkpoints/loose.pt"),
        ("ds/global_step10", "ds", "ds/global_step10"),
        ("sweep", None, None),
    ],
)
def test_run_of_knows_directories_and_what_is_in_them(
    tree: Path, path: str, run: str | None, checkpoint: str | None
) -> None:
    if run is None:
        with pytest.raises(AddressError):
            scan.run_of(tree / path)
        return
    assert scan.run_of(tree / path) == (tree / run, None if checkpoint is None else tree / checkpoint)


def test_run_of_follows_a_link_to_a_checkpoint_directory(tree: Path) -> None:
    (tree / "out" / "last").symlink_to("checkpoint-1000")
    assert scan.run_of(tree / "out" / "last") == (tree / "out", tree / "out" / "checkpoint-1000")


def test_a_data_set_is_no_run(tmp_path: Path) -> None:
    for name in ("a/train.zip", "b/train.h5", "c/train.pkl", "d/train.bin", "e/val_00001.bin", "f/tokenizer.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"data")
    (tmp_path / "f" / "config.json").write_text("{}")
    assert scan.find_runs(tmp_path) == []
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "unknown.pt").write_bytes(b"data of no known format")
    (found,) = scan.find_runs(tmp_path)
    view = scan.read_run(found)
    assert [(c.framework, os.path.basename(c.path)) for c in view.checkpoints] == [("unknown", "unknown.pt")]


@pytest.mark.parametrize("name", ["transformers", "accelerate", "orbax", "dcp"])
def test_what_the_libraries_write_are_runs_of_their_checkpoints(produced: Any, name: str) -> None:
    base = produced(name)
    for path in scan.find_runs(base):
        view = scan.read_run(path, root=base)
        assert view.checkpoints
        for checkpoint in view.checkpoints:
            assert scan.run_of(Path(checkpoint.path)) == (path, Path(checkpoint.path))
            inside = os.path.join(checkpoint.path, (formats.inspect(checkpoint.path).files or ("",))[-1])
            assert scan.run_of(Path(inside)) == (path, Path(checkpoint.path))


def test_a_signature_covers_everything_in_a_checkpoint_and_its_pointers(tree: Path) -> None:
    run = tree / "out"
    seen = [scan.signature(run)]

    def changed() -> bool:
        seen.append(scan.signature(run))
        return seen[-1] not in seen[:-1]

    deep = run / "checkpoint-1000" / "global_step1000" / "mp_rank_00_model_states.pt"
    times = deep.stat()
    raw = deep.read_bytes()
    deep.write_bytes(raw[:-1] + b"x")
    os.utime(deep, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed()
    (run / "checkpoint-500" / "rng_state.pth").write_bytes(b"x")
    assert changed()
    (run / "latest").write_text("checkpoint-500")
    assert changed()
    (run / "last").symlink_to("checkpoint-500")
    assert changed()
    shutil.rmtree(run / "checkpoint-500")
    assert changed()
    (run / "notes.txt").write_text("nothing")
    assert not changed()


@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_a_look_lists_a_directory_no_more_than_once_for_signature_and_record(tree: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ckpt import scan; cache = scan.Cache(); run = Path(sys.argv[1])\n"
        "scan.read_run(run, cache=cache)\n"
        "open('/dev/null').close()\n"
        "sight = scan.sight(run); scan.read_run(run, cache=cache, sight=sight)\n"
    )
    log = tmp_path / "log"
    subprocess.run(
        [str(STRACE), "-f", "-e", "trace=openat", "-o", str(log), sys.executable, "-c", code, str(tree / "out")],
        check=True,
    )
    second = log.read_text().partition('"/dev/null"')[2].splitlines()
    listed = [line.split('"')[1] for line in second if "O_DIRECTORY" in line and str(tree) in line]
    inside = [path for path in listed if "/checkpoint-" in path]
    assert len(inside) == len(set(inside)) == 3
