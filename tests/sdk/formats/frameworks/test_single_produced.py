"""Single files of real libraries, compared with what those libraries read back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats import Inspection, inspect

Produced = Callable[[str], Path]


def everything(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "expected.json").read_text())
    assert found
    return found


def shapes(found: Inspection, names: dict[str, Any]) -> dict[str, list[int]]:
    return {info.name: list(info.shape) for info in found.tensors if info.name in names}


def elements(names: dict[str, list[int]]) -> int:
    total = 0
    for shape in names.values():
        count = 1
        for extent in shape:
            count *= extent
        total += count
    return total


def test_lightning(produced: Produced) -> None:
    base = produced("lightning")
    seen: dict[str, Inspection] = {}
    for name, told in everything(base).items():
        found = seen[name] = inspect(base / name)
        assert (found.framework, found.format, found.state) == ("lightning", "torch", "complete"), name
        assert (found.epoch, found.step, found.learning_rate) == (told["epoch"], told["step"], told["lr"]), name
        assert (found.monitor, found.mode) == ("val_loss", "min"), name
        for place in ("best_model_path", "best_k_models", "last_model_path"):
            named = [
                path for key, paths in found.references.items() if key.partition("[")[0] == place for path in paths
            ]
            assert named == list(dict.fromkeys(told[place])), (name, place)
        assert shapes(found, told["tensors"]) == told["tensors"]
        assert found.parameter_count == elements(told["tensors"])
        resume = found.resume
        assert resume["model"] and resume["optimizer"] and resume["scheduler"] and resume["data"]
        assert resume["scaler"] is told["scaler"] and resume["rng"]["ranks"] == 0
        hyper = {key: value for key, value in told["hyper"].items() if key not in ("options", "deep")}
        assert {key: found.config[key] for key in hyper} == hyper
        assert "builtins.long" not in found.unknown_globals
    assert seen["conf/last.ckpt"].config == {"net": {"width": 4}, "tags": ["a"]}
    config = seen["run/last.ckpt"].config
    assert config["options"] == {"a": 1, "b": [2.5, "c"]}
    assert config["deep"] == {"layers": [1, {"name": "x"}], "rate": "${base}", "base": 0.5}


def test_lightning_scores_are_those_of_the_weights_in_the_file(produced: Produced) -> None:
    """Every callback keeps the score of what it saved last, also in files that another one saves later."""
    base = produced("lightning")
    told = everything(base)
    scored = 0
    for name, truth in told.items():
        measured = truth["measured"]
        for metric, value in inspect(base / name).metrics.items():
            assert value == pytest.approx(measured[metric], abs=1e-3), (name, metric)
            scored += 1
    assert scored >= 4
    best = next(name for name in told if name.startswith("run/epoch=1"))
    assert inspect(base / best).metrics == {"val_loss": told[best]["measured"]["val_loss"]}
    assert inspect(base / "run" / "part-epoch=1-step=6.ckpt").metrics == {}


def test_fabric_files_have_their_users_keys(produced: Produced) -> None:
    found = inspect(produced("lightning") / "fabric.ckpt")
    assert (found.framework, found.step, found.epoch, found.learning_rate) == ("torch", 17, 3, 0.1)
    assert found.resume["optimizer"] and found.parameter_count == 8


def test_ignite(produced: Produced) -> None:
    base = produced("ignite")
    for name, told in everything(base).items():
        found = inspect(base / name)
        if told["step"] is None:
            assert (found.framework, found.step) == ("torch", None)
            assert found.metrics == {"accuracy": float(name.rpartition("=")[2].removesuffix(".pt"))}
            assert found.epoch == int(name.split("_")[2])
            assert set(found.from_name) == {"epoch", "metrics.accuracy"}
            assert shapes(found, told["tensors"]) == told["tensors"]
            continue
        assert (found.framework, found.step, found.epoch) == ("ignite", told["step"], told["epoch"])
        assert list(found.references.get("saved", ())) == told["saved"]
        assert found.learning_rate == 0.03 and found.resume["optimizer"] and found.resume["data"]
        rng = found.resume["rng"]
        assert {rng["python"], rng["numpy"], rng["torch"]} == {told["generators"]}
        assert rng["ranks"] == int(told["generators"]) and not rng["cuda"]
        assert found.parameter_count == elements(told["tensors"])
    assert any(told["saved"] for told in everything(base).values())
    assert any(told["generators"] for told in everything(base).values())


def test_keras(produced: Produced, tmp_path: Path) -> None:
    base = produced("keras")
    for name, told in everything(base).items():
        found = inspect(base / name)
        assert (found.framework, found.format, found.state) == ("keras", "keras", "complete")
        assert (found.epoch, found.step, found.metrics) == (told["epoch"], None, {})
        assert found.learning_rate == pytest.approx(told["learning_rate"]) and found.from_name == ("epoch",)
        assert found.config["class_name"] == told["class_name"]
        layers = [layer["config"].get("units") for layer in found.config["config"]["layers"]]
        assert [units for units in layers if units] == told["units"]
        assert found.resume["model"] and found.resume["optimizer"]
        assert found.saved_at is not None and abs(found.saved_at - (base / name).stat().st_mtime) < 86400
        assert found.problems == ("left out: the data sets of its HDF5 part",)
        packed = tmp_path / name
        with zipfile.ZipFile(base / name) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
            for member in source.infolist():
                target.writestr(member.filename, source.read(member))
        assert inspect(packed).config == found.config


def test_keras_weights(produced: Produced) -> None:
    weights = sorted(produced("keras").glob("*.weights.h5"))
    assert len(weights) == 2
    for number, path in enumerate(weights, 1):
        found = inspect(path)
        assert (found.framework, found.format, found.state) == ("keras", "hdf5", "complete")
        assert found.epoch == number and found.resume["model"] and not found.resume["optimizer"]
    assert len({inspect(path).fingerprint for path in weights}) == 2


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_cut_keras_files_are_incomplete(produced: Produced, tmp_path: Path, suffix: str) -> None:
    whole = next(path for path in sorted(produced("keras").iterdir()) if path.name.endswith(suffix)).read_bytes()
    path = tmp_path / f"a{suffix}"
    for length in (*range(1, 80), *range(80, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        assert inspect(path).state == "incomplete", length
        assert inspect(path).framework == "keras" or length < 43, length


def test_sb3(produced: Produced, tmp_path: Path) -> None:
    base = produced("sb3")
    for name, told in everything(base).items():
        found = inspect(base / name)
        assert (found.framework, found.format, found.state) == ("sb3", "zip", "complete"), found.problems
        assert (found.step, found.from_name) == (told["step"], ())
        assert found.learning_rate == told["learning_rate"] and found.config["gamma"] == told["gamma"]
        assert shapes(found, told["policy"]) == told["policy"]
        assert found.parameter_count == elements(told["policy"])
        assert found.resume["model"] and found.resume["optimizer"]
        assert {info.name.split(".state.")[0] for info in found.tensors if ".state." in info.name} <= set(told["parts"])
        assert ":serialized:" not in json.dumps(found.config)
        whole = (base / name).read_bytes()
        path = tmp_path / name
        for length in (*range(1, 60), len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            assert inspect(path).state == "incomplete", length
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(base / "sac.zip") as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    found = inspect(packed)
    assert found.state == "complete" and found.step == everything(base)["sac.zip"]["step"] and not found.tensors
    assert "left out: 'policy.pth', which is compressed" in found.problems


def test_fvcore(produced: Produced) -> None:
    base = produced("fvcore")
    for name, told in everything(base).items():
        found = inspect(base / name)
        assert (found.framework, found.step, found.epoch) == ("fvcore", told["step"], None)
        assert found.learning_rate == told["learning_rate"]
        assert shapes(found, told["tensors"]) == told["tensors"] and found.from_name == ()
        assert found.resume["model"] and found.resume["optimizer"] and found.resume["scheduler"]


def test_mmengine(produced: Produced) -> None:
    base = produced("mmengine")
    for name, told in everything(base).items():
        found = inspect(base / name)
        assert (found.framework, found.epoch, found.step) == ("mmengine", told["epoch"], told["step"]), name
        assert found.metrics["train/loss"] == told["train/loss"]
        assert found.metrics.get("best_score") == told["best_score"]
        assert {key: value[0] for key, value in found.references.items()} == told["files"]
        assert found.config == {"cfg": told["cfg"].strip().split("\n")} and "width = 3" in found.config["cfg"]
        assert shapes(found, told["tensors"]) == told["tensors"] and found.resume["model"]
        assert [found.resume["optimizer"], found.resume["scheduler"]] == told["states"]
        assert found.saved_at is not None and abs(found.saved_at - (base / name).stat().st_mtime) < 86400
        assert not any(metric.startswith("val/") for metric in found.metrics)
    assert any(told["best_score"] for told in everything(base).values())
    assert any(all(told["states"]) for told in everything(base).values())
