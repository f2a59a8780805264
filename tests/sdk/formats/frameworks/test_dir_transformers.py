"""Checkpoints that the Trainer of transformers made, against what the library itself reads back."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ckpt.formats import Inspection, inspect
from ckpt.formats.directories import known
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]

NAMES = ("best/checkpoint-2", "best/checkpoint-6", "plain/checkpoint-2", "adapter/checkpoint-2")
ORDER = ("config.json", "model.safetensors", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def expected(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "expected.json").read_text())
    return found


def copy(base: Path, name: str, to: Path) -> Path:
    target = to / Path(name).name
    shutil.copytree(base / name, target)
    return target


def tensors(found: Inspection, prefix: str) -> dict[str, list[Any]]:
    chosen = [tensor for tensor in found.tensors if tensor.name.startswith(prefix)]
    return {tensor.name.removeprefix(prefix): [list(tensor.shape), tensor.dtype] for tensor in chosen}


@pytest.mark.parametrize("name", NAMES)
def test_says_what_the_library_reads_back(produced: Produced, name: str) -> None:
    base = produced("transformers")
    told = expected(base)["checkpoints"][name]
    found = inspect(base / name)
    assert (found.state, found.problems) == ("complete", ())
    assert (found.framework, found.format) == ("transformers", "directory")
    assert (found.step, found.epoch) == (told["global_step"], told["epoch"])
    logged: dict[str, float] = {}
    for entry in told["log_history"]:
        if entry["step"] == told["global_step"]:
            logged.update({key: value for key, value in entry.items() if key not in ("step", "epoch")})
    assert found.metrics == logged
    assert found.loss == logged["loss"]
    assert found.learning_rate == told["optimizer_lr"]
    best = told["best_model_checkpoint"]
    assert found.references == ({"best_model_checkpoint": (best,)} if best else {})
    assert {key: found.config[key] for key in told["args"]} == told["args"]
    assert tensors(found, "model.") == told["weights"]
    assert tensors(found, "optimizer.state.") == told["moments"]
    assert found.parameter_count == told["parameters"]
    assert found.resume == {
        "model": True,
        "optimizer": True,
        "scheduler": True,
        "scaler": False,
        "rng": {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": 1},
        "data": True,
        "topology": {"world_size": 1},
    }
    assert sorted(found.files) == sorted(p.name for p in (base / name).iterdir())
    assert found.bytes == sum(path.stat().st_size for path in (base / name).iterdir())


def test_the_metric_that_the_trainer_compares_by(produced: Produced) -> None:
    base = produced("transformers")
    told = expected(base)["checkpoints"]
    kept = inspect(base / "best/checkpoint-2")
    assert told["best/checkpoint-2"]["monitor"] == "loss"
    assert (kept.monitor, kept.mode) == ("eval_loss", "min")
    assert kept.metrics[kept.monitor or ""] == told["best/checkpoint-2"]["best_metric"]
    assert told["best/checkpoint-2"]["best_global_step"] == kept.step
    chosen = inspect(base / "adapter/checkpoint-2")
    assert (chosen.monitor, chosen.mode) == ("eval_runtime", "min")
    assert inspect(base / "plain/checkpoint-2").monitor is None


def test_configuration_of_the_model_and_of_the_adapter(produced: Produced) -> None:
    base = produced("transformers")
    kept = inspect(base / "best/checkpoint-6")
    assert kept.config["model_config"]["hidden_size"] == 16
    assert "adapter_config" not in kept.config
    assert inspect(base / "adapter/checkpoint-2").config["adapter_config"]["r"] == 2


def test_the_bytes_of_every_tensor_can_be_read(produced: Produced) -> None:
    directory = produced("transformers") / "best/checkpoint-6"
    weights = load_file(directory / "model.safetensors")
    moments = torch.load(directory / "optimizer.pt", weights_only=False)["state"]
    compared = 0
    with opened(directory) as found:
        for placed in found.tensors:
            assert placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            kind, _, name = placed.info.name.partition(".")
            if kind == "model":
                wanted = weights[name]
            elif kind == "optimizer":
                _, index, part = name.split(".")
                wanted = moments[int(index)][part]
            else:
                continue
            assert raw == wanted.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            compared += 1
    assert compared == len(weights) + sum(len(kept) for kept in moments.values())


def test_a_directory_of_a_training_is_no_checkpoint(produced: Produced) -> None:
    base = produced("transformers")
    assert (base / "best/trainer_state.json").exists() and (base / "best/model.safetensors").exists()
    for name in ("best", "plain", "adapter"):
        with pytest.raises(IsADirectoryError):
            inspect(base / name)


@pytest.mark.parametrize("written", range(1, len(ORDER) + 1))
def test_incomplete_until_the_last_file_is_there(produced: Produced, tmp_path: Path, written: int) -> None:
    base = produced("transformers")
    times = [(base / "best/checkpoint-6" / name).stat().st_mtime_ns for name in (*ORDER, "trainer_state.json")]
    assert times == sorted(times)
    copy(base, "best/checkpoint-2", tmp_path)
    directory = copy(base, "best/checkpoint-6", tmp_path)
    keep(directory, *ORDER[:written])
    found = inspect(directory)
    assert (found.framework, found.state) == ("transformers", "incomplete")
    assert found.problems == ("trainer_state.json is missing, which is written last",)


def keep(directory: Path, *names: str) -> None:
    for path in list(directory.iterdir()):
        if path.name not in names:
            path.unlink()


@pytest.mark.parametrize("written", range(3, len(ORDER) + 1))
def test_the_first_of_a_training_is_incomplete_by_its_arguments(
    produced: Produced, tmp_path: Path, written: int
) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    keep(directory, *ORDER[:written])
    assert inspect(directory).problems == ("trainer_state.json is missing, which is written last",)


@pytest.mark.parametrize(
    ("source", "names", "framework"),
    [
        ("best/checkpoint-6", ("config.json", "generation_config.json", "model.safetensors"), "transformers"),
        ("adapter/checkpoint-2", ("adapter_config.json", "adapter_model.safetensors", "README.md"), "peft"),
        ("best/checkpoint-6", ("model.safetensors",), "safetensors"),
    ],
)
def test_weights_that_a_loop_saves_under_the_name_of_a_step(
    produced: Produced, tmp_path: Path, source: str, names: tuple[str, ...], framework: str
) -> None:
    """As `model.save_pretrained(f"checkpoint-{step}")` leaves them."""
    base = produced("transformers")
    for step in (100, 200):
        directory = copy(base, source, tmp_path).rename(tmp_path / f"checkpoint-{step}")
        keep(directory, *names)
    found = inspect(directory)
    assert (found.state, found.problems, found.framework) == ("complete", (), framework)
    assert (found.step, found.from_name) == (200, ("step",))
    assert found.resume["model"] and not found.resume["optimizer"] and not found.resume["data"]
    weights = next(path for path in directory.iterdir() if path.suffix == ".safetensors")
    assert tensors(found, "model.").keys() == load_file(weights).keys()
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-1])
    assert inspect(directory).state == "incomplete"
    weights.write_bytes(raw)
    # A Trainer beside it says that this is one of its own, which is not finished.
    (tmp_path / "training_args.bin").touch()
    assert inspect(directory).problems == ("trainer_state.json is missing, which is written last",)


def test_an_adapter_without_its_configuration_is_not_whole(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "adapter/checkpoint-2", tmp_path)
    keep(directory, "adapter_model.safetensors")
    found = inspect(directory)
    assert (found.state, found.problems) == ("incomplete", ("adapter_config.json is missing",))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """What `train` of `run_glue.py` saves in version 2 of transformers, in the layout that its source has."""
    directory = tmp_path / "checkpoint-500"
    directory.mkdir()
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.25)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    (directory / "config.json").write_text('{"model_type": "bert"}')
    torch.save(layer.state_dict(), directory / "pytorch_model.bin")
    torch.save(argparse.Namespace(learning_rate=0.25, save_steps=500), directory / "training_args.bin")
    torch.save(optimizer.state_dict(), directory / "optimizer.pt")
    torch.save({"last_epoch": 500, "base_lrs": [0.25]}, directory / "scheduler.pt")
    return directory


def test_older_versions_wrote_no_state(older: Path) -> None:
    found = inspect(older)
    assert (found.state, found.problems, found.framework) == ("complete", (), "transformers")
    assert (found.step, found.from_name, found.learning_rate) == (500, ("step",), 0.25)
    assert found.resume["optimizer"] and found.resume["scheduler"] and not found.resume["rng"]["ranks"]


@pytest.mark.parametrize("missing", ["optimizer.pt", "scheduler.pt", "pytorch_model.bin"])
def test_an_older_one_that_is_not_all_there(older: Path, missing: str) -> None:
    path = older / missing
    path.write_bytes(path.read_bytes()[:-20])
    found = inspect(older)
    assert found.state == "incomplete" and missing in found.problems[0]
    path.unlink()
    assert inspect(older).state == "incomplete"


def test_a_state_that_older_versions_did_not_write_tells_a_newer_one(older: Path) -> None:
    torch.save({"cpu": torch.zeros(16, dtype=torch.uint8)}, older / "rng_state.pth")
    assert inspect(older).problems == ("trainer_state.json is missing, which is written last",)


@pytest.mark.parametrize("name", [*ORDER[1:], "trainer_state.json"])
def test_a_cut_member_makes_it_incomplete(produced: Produced, tmp_path: Path, name: str) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    content = (directory / name).read_bytes()
    for length in (0, len(content) // 2, len(content) - 3):
        (directory / name).write_bytes(content[:length])
        found = inspect(directory)
        assert found.state == "incomplete", (length, found.problems)
        assert name in found.problems[0]


def test_the_mark_of_a_save_that_was_cut_short(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    (directory / "checkpoint-is-incomplete.txt").write_text("")
    assert inspect(directory).state == "incomplete"


def test_another_file_or_another_name_changes_nothing(produced: Produced, tmp_path: Path) -> None:
    base = produced("transformers")
    directory = copy(base, "best/checkpoint-6", tmp_path)
    (directory / "notes.bin").write_bytes(b"anything")
    (directory / "tokenizer.json").write_text("not json")
    found = inspect(directory)
    assert (found.state, found.step) == ("complete", 6)
    renamed = directory.rename(tmp_path / "kept for later")
    assert inspect(renamed).step == 6
    assert inspect(renamed).fingerprint == found.fingerprint
    assert found.fingerprint != inspect(base / "best/checkpoint-6").fingerprint


def test_weights_alone_are_a_checkpoint_too(produced: Produced, tmp_path: Path) -> None:
    """With `save_only_model` the Trainer writes neither optimizer nor generators."""
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (directory / name).unlink()
    found = inspect(directory)
    assert (found.state, found.step) == ("complete", 6)
    assert not found.resume["optimizer"] and not found.resume["scheduler"] and found.resume["rng"]["ranks"] == 0


def test_shards_in_a_checkpoint(produced: Produced, tmp_path: Path) -> None:
    base = produced("transformers")
    directory = copy(base, "best/checkpoint-6", tmp_path)
    (directory / "model.safetensors").unlink()
    for path in (base / "sharded").glob("model*"):
        shutil.copy2(path, directory)
    found = inspect(directory)
    assert found.state == "complete"
    assert tensors(found, "model.") == expected(base)["sharded"]
    (directory / "model-00002-of-00004.safetensors").unlink()
    found = inspect(directory)
    assert found.state == "incomplete" and "model-00002-of-00004.safetensors is missing" in found.problems[0]


def processes(directory: Path, count: int) -> None:
    for rank in range(count):
        shutil.copy2(directory / "rng_state.pth", directory / f"rng_state_{rank}.pth")
    (directory / "rng_state.pth").unlink()


def arguments(directory: Path, **changes: Any) -> None:
    held = torch.load(directory / "training_args.bin", weights_only=False)
    for name, value in changes.items():
        if name == "num_processes":
            held.distributed_state.num_processes = value
        else:
            setattr(held, name, value)
    torch.save(held, directory / "training_args.bin")


def test_every_process_has_its_generators(produced: Produced, tmp_path: Path) -> None:
    """Names of several processes are those of `_save_rng_state` in `transformers/trainer.py`."""
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    processes(directory, 3)
    found = inspect(directory)
    assert (found.state, found.resume["rng"]["ranks"], found.resume["topology"]["world_size"]) == ("complete", 3, 3)
    arguments(directory, num_processes=4)
    found = inspect(directory)
    assert found.state == "incomplete" and "rng_state_3.pth" in found.problems[0]
    arguments(directory, save_on_each_node=True)
    assert inspect(directory).state == "complete"
    arguments(directory, save_on_each_node=False, num_processes=3)
    (directory / "rng_state_1.pth").unlink()
    found = inspect(directory)
    assert found.state == "incomplete" and "rng_state_1.pth" in found.problems[0]


def test_the_direction_where_nothing_is_said_of_it(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    for name, monitor, mode in (("f1", "eval_f1", "max"), ("eval_my_loss", "eval_my_loss", "min")):
        arguments(directory, metric_for_best_model=name, greater_is_better=None)
        found = inspect(directory)
        assert (found.monitor, found.mode) == (monitor, mode)


def test_a_token_is_not_shown(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    arguments(directory, hub_token="hf_secret")
    found = inspect(directory)
    assert found.config["hub_token"] == "<HUB_TOKEN>"
    assert "hf_secret" not in repr(found)


HOSTILE: dict[str, tuple[str, str]] = {
    "deep": ("[" * 200_000, "corrupt"),
    "no object": ("[1, 2]", "corrupt"),
    "no json": ("{'a': 1}", "corrupt"),
    "not text": ("\udcff\udcfe", "corrupt"),
    "wrong types": (json.dumps({"global_step": "six", "epoch": [], "log_history": {"step": 6}}), "complete"),
    "entries of all kinds": (
        json.dumps({"global_step": 6, "log_history": [None, 3, [], {"step": {}}, {"step": 6, "loss": "low"}]}),
        "complete",
    ),
    "huge numbers": (json.dumps({"global_step": 10**30, "epoch": 1e400, "log_history": []}), "complete"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_state_file_of_any_content_is_answered(produced: Produced, tmp_path: Path, case: str) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    text, state = HOSTILE[case]
    (directory / "trainer_state.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = inspect(directory)
    assert found.state == state
    if state == "complete":
        assert (found.step, found.metrics, found.loss) == (6, {}, None)  # the step stands in the name as well


def test_numbers_that_are_none_stay_in_the_metrics(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    entry = {"step": 6, "loss": math.nan, "eval_loss": math.inf, "flag": True, "\x1b[2J": 1}
    (directory / "trainer_state.json").write_text(json.dumps({"global_step": 6, "log_history": [entry]}))
    found = inspect(directory)
    assert found.loss is not None and math.isnan(found.loss)
    assert found.metrics["eval_loss"] == math.inf and "flag" not in found.metrics
    assert "\x1b" not in "".join(found.metrics)


def test_a_state_file_too_large_to_read_leaves_the_rest(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("transformers"), "best/checkpoint-6", tmp_path)
    with (directory / "trainer_state.json").open("wb") as file:
        file.truncate(1 << 40)
    found = inspect(directory)
    assert (found.state, found.step, found.from_name) == ("complete", 6, ("step",))
    assert "trainer_state.json" in found.problems[0]
    assert found.parameter_count > 0 and found.bytes_read < 10 << 20


def recognised(name: str, files: set[str], directories: set[str] | None = None) -> str | None:
    kind = known.recognise(name, files, directories or set())
    return None if kind is None else kind.load().framework


def test_recognised_by_names_alone() -> None:
    assert recognised("checkpoint-10", {"config.json"}) == "transformers"
    assert recognised("checkpoint-10", {"rng_state_3.pth"}) == "transformers"
    assert recognised("checkpoint-10", {"trainer_state.json"}, {"global_step10"}) == "transformers"
    assert recognised("checkpoint-10", set(), {"pytorch_model_fsdp_0"}) == "transformers"
    assert recognised("checkpoint-10", set()) is None
    assert recognised("checkpoint-10", {"notes.txt"}) is None
    assert recognised("out", {"trainer_state.json", "model.safetensors"}, {"checkpoint-10"}) is None
    assert recognised("out", {"trainer_state.json", "optimizer.pt"}, {"checkpoint-10"}) is None
    assert recognised("kept", {"trainer_state.json", "optimizer.pt"}) == "transformers"
