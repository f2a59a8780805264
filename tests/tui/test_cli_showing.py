"""`ckpt show`, `ckpt inspect` and `ckpt diff` on paths, without a daemon."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import NoDaemonError
from ckpt_tui.answers.showing import changes, run_difference
from ckpt_tui.output import Paint
from ckpt_tui.render.contents import content_lines
from ckpt_tui.render.differences import difference_lines
from ckpt_tui.render.resuming import resume_rows, resume_text


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every attempt to talk to a daemon fail."""
    from ckpt.client import Client

    def refuse(**options: Any) -> Client:
        raise NoDaemonError("asked for a daemon")

    monkeypatch.setattr(Client, "connect", refuse)


def test_everything_about_one_checkpoint(runs: Any, ckpt: Any, no_client: None) -> None:
    directory = runs.run("exp1", policy={"keep_last": 1})
    runs.checkpoint(directory, step=10, epoch=1, loss=0.5, metrics={"acc": 0.75, "bad": math.nan})
    path = runs.checkpoint(directory, step=20, epoch=2, loss=0.25)
    text = ckpt("show", directory / "checkpoints" / "step-000010.pt").out
    for part in (
        "step           10",
        "loss           0.5",
        "acc  0.75",
        "bad  NaN",
        "remove",
        "not kept by:",
        "resume",
    ):
        assert part in text, part
    assert "model_state_dict.fc.weight" in text
    answer = ckpt("show", path, "--json").json
    assert set(answer) == {"run", "checkpoint", "inspection"}
    assert answer["checkpoint"]["step"] == 20 and answer["inspection"]["tensor_count"] == 2
    assert ckpt("show", path, "-q").out == f"{path}\n"


@pytest.mark.parametrize(
    ("selector", "step"), [("", 30), ("@latest", 30), ("@best", 30), ("@~1", 20), ("@step:10", 10), ("@epoch:2", 20)]
)
def test_selectors_behind_a_directory(runs: Any, ckpt: Any, no_client: None, selector: str, step: int) -> None:
    directory = runs.run("exp1", checkpoints=3)
    assert ckpt("show", f"{directory}{selector}", "--json").json["checkpoint"]["step"] == step


def test_relative_paths_and_markers_are_addresses(
    runs: Any, ckpt: Any, no_client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = runs.run("exp1", checkpoints=1)
    monkeypatch.chdir(runs.base.parent)
    for address in ("runs/exp1", "./runs/exp1@best", "runs/exp1/checkpoints/step-000010.json"):
        answer = ckpt("show", address, "--json").json
        assert answer["checkpoint"]["path"] == str(directory / "checkpoints" / "step-000010.pt")


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        ("{}/exp1@step:11", "no checkpoint of step 11", "nearest: 10, 20"),
        ("{}/exp1@bst", "nothing at 'bst'", "did you mean best"),
        ("{}/exp1@best:acc", "with a finite 'acc'", "no metric is recorded"),
        ("{}/exp1/checkpoints/step-00010.pt", "there is no", "step-000010.pt"),
        ("{}/exp2", "there is no", "exp1"),
        ("{}/none/x.pt", "there is no", "no directory that can be read"),
        ("nope.pt", "there is no nope.pt", ""),
    ],
)
def test_wrong_addresses_answer_with_what_exists(
    runs: Any, ckpt: Any, no_client: None, address: str, message: str, hint: str
) -> None:
    runs.run("exp1", checkpoints=2)
    answer = ckpt("show", address.format(runs.base), "--json")
    assert answer.code == 2 and answer.out == ""
    assert answer.error["kind"] == "AddressError" and answer.error["exit_code"] == 2
    assert message in answer.error["message"] and hint in (answer.error["hint"] or "")


def test_a_corrupt_checkpoint_is_shown_as_such(runs: Any, ckpt: Any) -> None:
    path = runs.checkpoint(runs.run("exp1"), step=10)
    path.write_bytes(path.read_bytes()[:300])
    answer = ckpt("show", path)
    assert answer.code == 0 and "corrupt" in answer.out and "problem" in answer.out


def test_inspect_is_the_contract(runs: Any, ckpt: Any, no_client: None) -> None:
    path = runs.checkpoint(runs.run("exp1"), step=10, epoch=2, metrics={"acc": 0.5})
    answer = ckpt("inspect", path, "--json").json
    assert set(answer) >= {
        "path", "framework", "format", "state", "step", "epoch", "metrics", "nonfinite", "config", "parameter_count",
        "tensor_count", "bytes", "bytes_read", "tensors", "resume", "unknown_globals", "problems",
    }  # fmt: skip
    assert answer["step"] == 10 and answer["parameter_count"] == 16
    text = ckpt("inspect", path).out
    assert "fc.weight" in text and "4×3" in text


def test_inspect_takes_addresses(runs: Any, ckpt: Any, no_client: None) -> None:
    run = runs.run("exp1")
    path = runs.checkpoint(run, step=10, epoch=2, metrics={"acc": 0.5})
    answer = ckpt("inspect", f"{run}@latest", "--json")
    assert (answer.code, answer.json) == (0, ckpt("inspect", path, "--json").json)


def test_inspect_of_what_is_no_file(tmp_path: Path, ckpt: Any) -> None:
    assert ckpt("inspect", tmp_path / "nothing.pt").code == 2
    answer = ckpt("inspect", tmp_path)
    assert answer.code == 2 and "is a directory" in answer.err
    (tmp_path / "junk.pt").write_bytes(b"no checkpoint at all")
    answer = ckpt("inspect", tmp_path / "junk.pt", "--json")
    assert answer.code == 0 and answer.json["state"] == "corrupt" and answer.json["problems"]


def test_many_tensors_are_listed_only_when_asked(tmp_path: Path, ckpt: Any) -> None:
    import torch

    torch.save({f"w{i:02}": torch.zeros(1) for i in range(30)}, tmp_path / "m.pt")
    short = ckpt("inspect", tmp_path / "m.pt").out
    assert "w19" in short and "w20" not in short and "10 more tensors" in short
    assert "w29" in ckpt("inspect", tmp_path / "m.pt", "--tensors").out


def test_diff_of_files(runs: Any, ckpt: Any, no_client: None) -> None:
    directory = runs.run("exp1", checkpoints=2)
    one, two = (directory / "checkpoints" / f"step-0000{n}0.pt" for n in (1, 2))
    answer = ckpt("diff", one, two, "--json")
    assert answer.code == 1
    assert set(answer.json) >= {"a", "b", "same", "metadata", "metrics", "config", "tensors"}
    assert answer.json["same"] is False and answer.json["tensors"]["identical"] == 1
    assert [t["name"] for t in answer.json["tensors"]["changed"]] == ["model_state_dict.fc.weight"]
    text = ckpt("diff", one, two).out
    assert "step   10  →  20  +10" in text and "1 identical, 1 changed" in text
    same = ckpt("diff", one, one)
    assert same.code == 0 and "no difference" in same.out
    assert ckpt("diff", f"{directory}@latest", f"{directory}@~1", "--json").code == 1


def test_diff_of_runs(runs: Any, ckpt: Any, no_client: None) -> None:
    one = runs.run("exp1", checkpoints=1, config={"lr": 0.1, "model": {"layers": 2}})
    two = runs.run("exp2", checkpoints=1, config={"lr": 0.2, "model": {"layers": 2}, "extra": 1})
    answer = ckpt("diff", one, two, "--json")
    assert answer.code == 1
    assert [(c["key"], c["a"], c["b"]) for c in answer.json["config"]] == [("extra", None, 1), ("lr", 0.1, 0.2)]
    assert answer.json["a"] == str(one) and answer.json["tensors"]["identical"] == 2
    assert ckpt("diff", one, one).code == 0


def test_diff_of_runs_compares_their_curves(runs: Any, ckpt: Any, no_client: None) -> None:
    one, two, three = (runs.run(name) for name in ("exp1", "exp2", "exp3"))
    for directory, losses in ((one, "1 0.5 NaN"), (two, "1 0.5 NaN"), (three, "1 0.25")):
        lines = [
            {"global_step": step, "loss": loss if loss == "NaN" else float(loss), "metrics": {}}
            for step, loss in enumerate(losses.split(), 1)
        ]
        (directory / "states.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ckpt("diff", one, two, "--json").json["curves"] == []
    assert ckpt("diff", one, two).code == 0
    answer = ckpt("diff", one, three, "--json")
    assert answer.code == 1
    assert answer.json["curves"] == [
        {
            "key": "loss",
            "a": {"points": 3, "last_step": 3, "last": None, "min": 0.5, "max": 1.0},
            "b": {"points": 2, "last_step": 2, "last": 0.25, "min": 0.25, "max": 1.0},
        }
    ]
    text = ckpt("diff", one, three).out
    assert "loss min" in text and "loss max" not in text


def test_diff_of_runs_tells_lineage(runs: Any, ckpt: Any) -> None:
    one = runs.run("exp1", checkpoints=1)
    assert ckpt("fork", one, "exp2").code == 0
    answer = ckpt("diff", one, runs.base / "exp2", "--json")
    keys = {c["key"]: c for c in answer.json["metadata"]}
    assert answer.code == 1 and keys["parent.run"]["only"] == "b"
    assert answer.json["tensors"]["changed"] == []


def test_diff_of_runs_without_checkpoints(runs: Any, ckpt: Any) -> None:
    one, two = runs.run("exp1"), runs.run("exp2", checkpoints=1)
    answer = ckpt("diff", one, two, "--json")
    assert answer.code == 1 and answer.json["checkpoints"][0] is None
    assert answer.json["tensors"] == {"added": [], "removed": [], "changed": [], "identical": 0, "by_checksum": 0}
    assert ckpt("diff", one, one, "--json").json["same"] is True


def test_a_run_against_a_checkpoint_means_its_latest(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    assert ckpt("diff", directory, f"{directory}@step:20").code == 0


def test_changes_of_nested_mappings() -> None:
    assert changes({"a": {"x": 1, "y": 2}, "b": {}}, {"a": {"x": 1}, "b": {}}) == [
        {"key": "a.y", "a": 2, "b": None, "only": "a", "nonfinite": []}
    ]


def test_run_difference_needs_no_disk_without_checkpoints() -> None:
    side = {"run": {"id": "r", "name": "r", "root": "/", "path": "/r", "own": True, "parent": None, "config": {}}}
    assert run_difference({**side, "checkpoints": []}, {**side, "checkpoints": []})["same"] is True


def test_a_difference_is_written_compactly() -> None:
    changed = {"kind": "value", "relative_l2": 0.01, "max_abs": 0.5, "cosine": None, "a": "float32 [2]", "b": ""}
    difference = {
        "a": "/a\x1b", "b": "/b", "same": False,
        "metadata": [{"key": "epoch", "a": 1, "b": 3}],
        "metrics": [{"key": "loss", "a": None, "b": 0.5, "nonfinite": ["a"]},
                    {"key": "x", "a": None, "b": 1, "only": "b"}],
        "config": [],
        "values": [{"key": f"v{i}", "a": 0, "b": 1} for i in range(12)],
        "tensors": {
            "added": [f"t{i}" for i in range(25)], "removed": ["old"],
            "changed": [{"name": "w", **changed},
                        {"name": "s", "kind": "shape", "a": "float32 [2]", "b": "float32 [3]"}],
            "identical": 7,
        },
    }  # fmt: skip
    text = "\n".join(difference_lines(difference, paint=Paint(False), width=None))
    assert "\x1b" not in text
    for part in (
        "epoch  1  →  3  +2",
        "loss  NaN  →  0.5",
        "x     –    →  1",
        "2 more values",
        "7 identical, 2 changed, 25 added, 1 removed",
        "5 more tensors",
        "~ w  value  relative 0.01, max 0.5",
        "~ s  shape  float32 [2] → float32 [3]",
    ):
        assert part in text, part


def test_a_checkpoint_that_is_a_directory(produced: Any, ckpt: Any, no_client: None) -> None:
    directory = produced("transformers") / "best" / "checkpoint-6"
    answer = ckpt("inspect", directory, "--json").json
    assert answer["framework"] == "transformers" and answer["state"] == "complete" and answer["step"] == 6
    assert answer["monitor"] == "eval_loss" and answer["mode"] == "min"
    assert Path(answer["references"]["best_model_checkpoint"][0]).name == "checkpoint-2"
    assert answer["files"] == sorted(path.name for path in directory.iterdir())
    assert answer["bytes"] == sum(path.stat().st_size for path in directory.iterdir())
    text = ckpt("inspect", directory).out
    assert f"directory      {directory}" in text and "monitor        eval_loss (min)" in text
    assert "resumes exactly, as far as can be told" in text and "never imported: " in text
    for address in (directory, directory / "optimizer.pt"):
        shown = ckpt("show", address, "--json").json
        assert shown["checkpoint"]["path"] == str(directory) and shown["inspection"]["files"] == answer["files"]
    assert f"directory      {directory}" in ckpt("show", directory).out


def test_a_directory_that_is_no_checkpoint(tmp_path: Path, ckpt: Any) -> None:
    answer = ckpt("inspect", tmp_path, "--json")
    assert answer.code == 2 and "no checkpoint itself" in answer.error["message"]
    assert "ckpt ls" in answer.error["hint"]


def test_what_a_resume_lacks_is_said(tmp_path: Path, ckpt: Any) -> None:
    import torch

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    whole = {"epoch": 1, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(whole, tmp_path / "a.pt")
    text = ckpt("inspect", tmp_path / "a.pt").out
    assert "resumes, but shuffling and dropout will differ" in text and "optimizer      yes" in text
    torch.save(model.state_dict(), tmp_path / "b.pt")
    assert "resume  weights only" in ckpt("inspect", tmp_path / "b.pt").out


def test_facts_of_the_name_alone_are_marked(tmp_path: Path, ckpt: Any) -> None:
    import torch

    torch.save({"w": torch.zeros(2)}, tmp_path / "step=500-val_loss=0.25.pt")
    text = ckpt("inspect", tmp_path / "step=500-val_loss=0.25.pt").out
    assert "500 (from its name)" in text and "val_loss  0.25 (from its name)" in text
    assert "framework      torch\n" in text
    answer = ckpt("inspect", tmp_path / "step=500-val_loss=0.25.pt", "--json").json
    assert set(answer["from_name"]) == {"step", "metrics.val_loss"}


def test_a_resume_in_words() -> None:
    report = {
        "model": True, "optimizer": True, "scheduler": False, "scaler": True, "data": False,
        "rng": {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 4},
        "topology": {"world_size": 8, "tensor_parallel": 2},
    }  # fmt: skip
    assert dict(resume_rows(report)) == {
        "model": "yes",
        "optimizer": "yes",
        "scheduler": "–",
        "scaler": "yes",
        "random": "python, numpy, torch, cuda; 4 ranks",
        "data position": "–",
        "topology": "world size 8, tensor parallel 2",
    }
    assert resume_text(report) == (
        "resumes, but some ranks have no states of random generators; the position in the data is not told"
    )
    assert resume_text({}) == "nothing to resume from"


def test_diff_of_directories(produced: Any, ckpt: Any, no_client: None) -> None:
    two, six = (produced("transformers") / "best" / f"checkpoint-{step}" for step in (2, 6))
    answer = ckpt("diff", two, six, "--json")
    assert answer.code == 1
    assert ("step", 2, 6) in [(c["key"], c["a"], c["b"]) for c in answer.json["metadata"]]
    assert answer.json["tensors"]["added"] == answer.json["tensors"]["removed"] == []
    assert any(t["name"].endswith("embed_tokens.weight") for t in answer.json["tensors"]["changed"])
    assert ckpt("diff", two, two).code == 0


def test_diff_of_a_directory_with_one_of_its_files(produced: Any, ckpt: Any, no_client: None) -> None:
    directory = produced("transformers") / "best" / "checkpoint-6"
    answer = ckpt("diff", directory, directory / "model.safetensors", "--json").json
    tensors = answer["tensors"]
    assert answer["prefixes"] == {"a": "model.", "b": ""} and answer["same"] is False
    assert tensors["identical"] > 0 and tensors["changed"] == tensors["added"] == []
    assert tensors["removed"] and not any(name.startswith("model.") for name in tensors["removed"])
    assert "compared without 'model.' in a" in ckpt("diff", directory, directory / "model.safetensors").out


def test_a_quick_diff_says_what_it_believed(tmp_path: Path, ckpt: Any, no_client: None) -> None:
    import torch

    one, copy = tmp_path / "a.pt", tmp_path / "copy.pt"
    weights = torch.full((512,), 1.5)
    torch.save({"w": weights, "b": torch.ones(2)}, one)
    raw = bytearray(one.read_bytes())
    raw[raw.index(weights.numpy().tobytes()) + 7] ^= 1
    copy.write_bytes(raw)

    read = ckpt("diff", one, copy)
    assert read.code == 1 and "~ w  value" in read.out and "checksums" not in read.out
    quick = ckpt("diff", one, copy, "--quick")
    assert (
        quick.code == 0 and "2 tensors taken as identical by the checksums that the files state; not read" in quick.out
    )
    assert ckpt("diff", one, copy, "--quick", "--json").json["tensors"]["by_checksum"] == 2


def test_long_names_are_cut_in_their_middle_to_the_terminal() -> None:
    names = [f"callbacks.ModelCheckpoint{{'monitor': 'val_loss', 'every_n_train_steps': 0}}.{end}" for end in "pqrs"]
    changed = [{"name": names[0], "kind": "value", "a": "float32 []", "b": "float32 []"}]
    difference = {
        "a": "/a", "b": "/b", "same": False, "metadata": [{"key": names[1], "a": 1, "b": 3}],
        "tensors": {"added": [names[2]], "removed": [names[3]], "changed": changed, "identical": 0},
    }  # fmt: skip
    lines = difference_lines(difference, paint=Paint(False), width=60)
    assert max(map(len, lines)) <= 60
    for sign, end in (("~", ".p"), ("+", ".r"), ("-", ".s"), ("c", ".q")):
        assert any(line.startswith(f"  {sign}") and "…" in line and end in line for line in lines), sign

    tensor = {"name": names[0], "dtype": "float32", "shape": [], "bytes": 4}
    inspection = {
        "tensors": [tensor], "tensor_count": 1, "parameter_count": 0,
        "config": {f"key{i}": "x" * 50 + f"end{i}" for i in range(40)},
    }  # fmt: skip
    lines = content_lines(inspection, all_tensors=False, paint=Paint(False), width=50)
    assert max(map(len, lines)) <= 50
    assert any("…" in line and ".p  float32" in line for line in lines)
    assert any("end11" in line for line in lines) and not any("end12" in line for line in lines)
    assert "  … 28 more values: --json shows all" in lines
    whole = content_lines(inspection, all_tensors=False, paint=Paint(False), width=None)
    assert any(names[0] in line for line in whole)
