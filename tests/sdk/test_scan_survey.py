"""The walk below a root: what it finds, what it does not see, and that a part of it finds the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from ckpt import scan
from ckpt.scan import Survey


def checkpoint(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def own(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "run.json").write_text("{}")
    return directory


def found(survey: Survey, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in survey.runs]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    own(root / "own")
    checkpoint(root / "own" / "checkpoints" / "a.pt")
    checkpoint(root / "x" / "y" / "foreign" / "a.safetensors")
    checkpoint(root / "x" / "y" / "parts" / "checkpoints" / "a.pt")
    checkpoint(root / "x" / "left-out" / "a.pt")
    checkpoint(root / "wandb" / "a.pt")
    checkpoint(root / "x" / ".half.pt.1-0badcafe.tmp")
    (root / "notes").mkdir()
    return root


def test_a_walk_finds_runs_and_counts_what_it_listed(tree: Path) -> None:
    survey = scan.survey(tree, exclude=["left-*"])
    assert found(survey, tree) == ["own", "x/y/foreign", "x/y/parts"]
    assert survey.directories == 8
    assert (survey.links, survey.unreadable) == ((), ())


@pytest.mark.parametrize(
    ("below", "runs"),
    [
        ("x", ["x/y/foreign", "x/y/parts"]),
        ("x/y/foreign", ["x/y/foreign"]),
        ("x/y/parts/checkpoints", ["x/y/parts"]),
        ("own/checkpoints", ["own"]),
        ("notes", []),
        ("gone", []),
        ("wandb", []),
        ("x/left-out", []),
    ],
)
def test_a_subtree_finds_what_the_whole_walk_finds_there(tree: Path, below: str, runs: list[str]) -> None:
    survey = scan.survey(tree, exclude=["left-*"], below=tree / below)
    assert found(survey, tree) == runs
    assert survey.directories <= 5


def test_a_subtree_outside_the_root_is_a_mistake(tree: Path) -> None:
    with pytest.raises(ValueError, match="does not lie in"):
        scan.survey(tree, below=tree.parent)


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_virtual_environments_are_left_out_whatever_they_are_called(tmp_path: Path, mark: str) -> None:
    checkpoint(tmp_path / "env" / "lib" / "torch" / "test.pt")
    checkpoint(tmp_path / "env" / mark)
    assert scan.survey(tmp_path).runs == ()
    assert scan.survey(tmp_path, below=tmp_path / "env" / "lib").runs == ()
    assert len(scan.survey(tmp_path / "env").runs) == 1


def test_links_to_runs_outside_are_told_and_not_followed(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    checkpoint(outside / "deep" / "run" / "a.pt")
    (tmp_path / "empty").mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "x" / "to-empty").symlink_to(tmp_path / "empty")
    (tree / "x" / "inside").symlink_to(tree / "own")
    (tree / "x" / "hidden").symlink_to(tree / "wandb")
    (tree / "x" / "up").symlink_to(tmp_path)
    (tree / "x" / "dangling").symlink_to(tmp_path / "nothing")
    survey = scan.survey(tree, exclude=["left-*"])
    assert found(survey, tree) == ["own", "x/y/foreign", "x/y/parts"]
    assert survey.links == ((str(tree / "link"), str(outside)), (str(tree / "x" / "hidden"), str(tree / "wandb")))
    part = scan.survey(tree, below=tree / "link" / "deep")
    assert (part.runs, part.links) == ((), ((str(tree / "link"), str(outside)),))


def test_every_symbolic_link_is_told_with_where_it_leads(tree: Path, tmp_path: Path) -> None:
    made = {
        "notes/figure": "../x/y/foreign/a.safetensors",
        "notes/.hidden": "figure",
        "notes/later": "../x/is-not-there-yet",
        "x/y/foreign/for_paper": "a.safetensors",
        "own/mine": "checkpoints/a.pt",
        "own/checkpoints/for_paper.pt": "a.pt",
        "own/checkpoints/latest.pt": "a.pt",
        "own/checkpoints/.best.pt.1-0badcafe.tmp": "a.pt",
        "x/y/elsewhere": str(tmp_path / "elsewhere" / "b.pt"),
        "x/loop": "loop",
        "x/y/up": "../..",
        "wandb/latest": "../own",
        "x/left-out/link": "../../own",
    }
    for link, target in made.items():
        (tree / link).symlink_to(target)
    (tmp_path / "alias").symlink_to(tree)
    (tree / "notes" / "around").symlink_to(tmp_path / "alias" / "x" / "y")
    survey = scan.survey(tree, exclude=["left-*"])
    leading = {os.path.relpath(link, tree): os.path.relpath(target, tree) for link, target in survey.symlinks}
    assert leading == {
        "notes/.hidden": "x/y/foreign/a.safetensors",
        "notes/around": "x/y",
        "notes/figure": "x/y/foreign/a.safetensors",
        "notes/later": "x/is-not-there-yet",
        "own/checkpoints/for_paper.pt": "own/checkpoints/a.pt",
        "own/mine": "own/checkpoints/a.pt",
        "x/y/elsewhere": "../elsewhere/b.pt",
        "x/y/foreign/for_paper": "x/y/foreign/a.safetensors",
    }
    assert survey.all_symlinks
    for below in ("notes", "own", "own/checkpoints", "x/y", "wandb", "x/left-out", "gone"):
        part = scan.survey(tree, exclude=["left-*"], below=tree / below)
        assert dict(part.symlinks) == {
            link: target for link, target in survey.symlinks if link.startswith(f"{tree / below}/")
        }


def test_links_in_a_checkpoint_directory_are_told(tmp_path: Path) -> None:
    checkpoint(tmp_path / "a" / "checkpoint-1" / "model.safetensors")
    (tmp_path / "a" / "checkpoint-1" / "trainer_state.json").write_text("{}")
    (tmp_path / "b" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "b" / "checkpoint-2" / "trainer_state.json").write_text("{}")
    shared = tmp_path / "b" / "checkpoint-2" / "model.safetensors"
    shared.symlink_to("../../a/checkpoint-1/model.safetensors")
    survey = scan.survey(tmp_path)
    assert found(survey, tmp_path) == ["a", "b"]
    assert survey.symlinks == ((str(shared), str(tmp_path / "a" / "checkpoint-1" / "model.safetensors")),)


def test_links_are_bounded_and_that_some_are_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt.scan.symlinks.MOST_LINKS", 3)
    root = tmp_path / "root"
    root.mkdir()
    for number in range(3):
        (root / f"in{number}").symlink_to("nothing")
        (root / f"out{number}").symlink_to(tmp_path / "nothing")
    (root / "out").symlink_to(tmp_path / "nothing")
    survey = scan.survey(root)
    assert (len(survey.symlinks), survey.all_symlinks) == (6, True)
    (root / "in").symlink_to("nothing")
    survey = scan.survey(root)
    assert (len(survey.symlinks), survey.all_symlinks) == (6, False)


def test_a_look_behind_a_link_is_bounded(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    for number in range(100 + 50):
        (outside / f"d{number:04d}" / "below").mkdir(parents=True)
    checkpoint(outside / "d0000" / "below" / "too" / "deep" / "for" / "a.pt")
    (root / "link").symlink_to(outside)
    survey = scan.survey(root)
    assert (survey.links, survey.directories) == ((), 1)


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="drops root's rights to test")
def test_what_cannot_be_listed_is_told(tmp_path: Path) -> None:
    base = Path(tempfile.mkdtemp(prefix="ckptd-survey-"))
    base.chmod(0o755)
    checkpoint(base / "a" / "x.pt")
    checkpoint(base / "closed" / "x.pt")
    (base / "closed").chmod(0)
    code = (
        "import os; from pathlib import Path; from ckpt import scan; os.setgid(65534); os.setuid(65534)\n"
        f"s = scan.survey(Path({str(base)!r})); print(s.runs, s.unreadable)\n"
        f"s = scan.survey(Path({str(base)!r}), below=Path({str(base / 'closed' / 'deep')!r})); print(s.unreadable)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(base)
    first, second = done.stdout.splitlines()
    assert first == f"('{base}/a',) ('{base}/closed',)"
    assert second == f"('{base}/closed/deep',)"


def test_a_root_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan.survey(tmp_path / "nothing")


def test_very_deep_runs_are_found(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 200)
    checkpoint(deep / "a.pt")
    assert scan.survey(tmp_path).runs == (str(deep),)


HABITS = {
    "nanogpt": ("out-shakespeare/ckpt.pt", "out-shakespeare"),
    "ultralytics": ("runs/detect/train2/weights/best.pt", "runs/detect/train2"),
    "mnist-helloworld": ("runs/exp3/checkpoints/latest_checkpoint.pt", "runs/exp3"),
    "mlmanager": ("net/weights/net_best_epoch_003_20250101_120000.pth", "net"),
    "lightning": ("lightning_logs/version_4/checkpoints/epoch=1-step=8.ckpt", "lightning_logs/version_4"),
    "nnunet": ("Dataset001/fold_0/checkpoint_final.pth", "Dataset001/fold_0"),
    "sb3": ("logs/ppo/rl_model_1000_steps.zip", "logs/ppo"),
    "keras": ("fit/w.01-1.79.weights.h5", "fit"),
    "trainer search": ("search/run-1/checkpoint-500/trainer_state.json", "search/run-1"),
    "trainer, adapters": ("sft/checkpoint-500/adapter_model.safetensors", "sft"),
    "accelerate": ("project/checkpoints/checkpoint_0/random_states_0.pkl", "project"),
    "deepspeed": ("ds/global_step10/mp_rank_00_model_states.pt", "ds"),
    "torchtitan": ("dump/checkpoint/step-10/__0_0.distcp", "dump"),
    "orbax": ("orbax/100/_CHECKPOINT_METADATA", "orbax"),
    "orbax, being written": ("orbax/100.orbax-checkpoint-tmp-5/state/d/x", "orbax"),
    "megatron": ("gpt/iter_0000100/mp_rank_00/model_optim_rng.pt", "gpt"),
    "verl": ("grpo/global_step_20/actor/model_world_size_2_rank_0.pt", "grpo"),
    "lerobot": ("act/checkpoints/001000/pretrained_model/model.safetensors", "act"),
    "torchtune": ("lora/epoch_0/adapter_model.pt", "lora"),
    "torchtune, state": ("lora/recipe_state/recipe_state.pt", "lora"),
    "ray": ("tune/trial_1/checkpoint_000002/model.pt", "tune/trial_1"),
    "nemo": ("log/checkpoints/m--val_loss=0.50-step=9-consumed_samples=80.0/weights/common.pt", "log"),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_run_is_what_a_person_would_name(tmp_path: Path, habit: str) -> None:
    """The places in which the frameworks write, by their documentation and save code."""
    file, run = HABITS[habit]
    checkpoint(tmp_path / file)
    assert found(scan.survey(tmp_path), tmp_path) == [run]
    assert found(scan.survey(tmp_path, below=(tmp_path / file).parent), tmp_path) == [run]


def test_a_repository_of_coral_is_found_in_its_hidden_directory(tmp_path: Path) -> None:
    for name in ("HEAD", "objects/commits/ab.json", "refs/heads/main"):
        checkpoint(tmp_path / "project" / ".coral" / name)
        checkpoint(tmp_path / "project" / ".git" / name)
    assert found(scan.survey(tmp_path), tmp_path) == ["project"]
    assert found(scan.survey(tmp_path, exclude=[".coral"]), tmp_path) == []


def test_a_directory_of_very_many_files_is_walked_without_keeping_them(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(5000):
        (images / f"{index:09d}.jpg").touch()
    scan.survey(tmp_path)
    tracemalloc.start()
    try:
        found = scan.survey(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.runs, found.directories) == ((), 2)
    assert peak < 100_000
