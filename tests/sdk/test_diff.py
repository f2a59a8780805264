"""What differs between two real checkpoint files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.diff import Difference, diff, difference_to_json
from ckpt.diff.naming import prefixes
from ckpt.exceptions import CorruptError, FormatError, IncompleteError

torch.set_num_threads(1)


def content(**changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "epoch": 1,
        "global_step": 100,
        "loss": 0.5,
        "model": {"a.weight": torch.ones(3, 4), "b": torch.zeros(5), "view": base[1:3], "turned": base.t()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "metrics": {"val_loss": math.nan, "acc": 0.5},
        "config": {"net": {"width": 4, "name": "x"}, "tags": ["p", "q"]},
        "rng": tuple(range(700)),
        "empty": {},
    }
    return {**state, **changes}


@pytest.fixture(params=["checksums", "no checksums", "legacy", "legacy against zip"])
def compared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Any, Any], Difference]]:
    """Saves two contents in every way of knowing their tensors' bytes, and compares the files."""
    kind = request.param
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(kind == "checksums")

    def compare(a: Any, b: Any) -> Difference:
        torch.save(a, tmp_path / "first.pt", _use_new_zipfile_serialization=not kind.startswith("legacy"))
        torch.save(b, tmp_path / "another.pt", _use_new_zipfile_serialization=kind != "legacy")
        return diff(tmp_path / "first.pt", tmp_path / "another.pt")

    yield compare
    torch.serialization.set_crc32_options(before)


Compare = Callable[[Any, Any], Difference]


def test_equal_contents_are_the_same(compared: Compare) -> None:
    found = compared(content(), dict(reversed(content().items())))
    assert found.same, found
    assert not (found.metrics or found.config or found.values or found.changed or found.added or found.removed)
    assert found.identical == 5


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.a.weight", lambda model: model["a.weight"].view(-1)[7:8].fill_(2)),
        ("model.b", lambda model: model["b"][:1].fill_(-0.0)),
        ("model.view", lambda model: model.update(view=torch.cat([model["view"][:1], model["view"][1:] + 1]))),
        ("model.turned", lambda model: model.update(turned=(model["turned"] + 1))),
    ],
)
def test_one_changed_tensor_is_named(compared: Compare, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    other = content()
    change(other["model"])
    found = compared(content(), other)
    assert not found.same
    assert [(c.name, c.kind) for c in found.changed] == [(name, "value")]
    assert found.identical == 4


def test_layout_in_memory_is_not_content(compared: Compare) -> None:
    base = torch.arange(60, dtype=torch.float64).reshape(3, 4, 5)
    a = {
        "turned": base.permute(2, 0, 1),
        "slice": base[:, 1:3, ::2],
        "one": base[1, 2, 3],
        "wide": torch.ones(4, 1).expand(4, 7),
        "last": base.to(torch.complex128)[..., 0],
        "byte": torch.arange(30, dtype=torch.uint8).reshape(5, 6).t(),
    }
    b = {name: tensor.contiguous().clone() for name, tensor in a.items()}
    found = compared(a, b)
    assert found.same, found
    assert found.identical == len(a)
    for name, tensor in b.items():
        changed = {**b, name: tensor.clone()}
        changed[name].view(-1)[-1:].add_(1)
        assert [c.name for c in compared(a, changed).changed] == [name]


def test_views_of_one_storage_are_compared_one_by_one(compared: Compare) -> None:
    flat = torch.zeros(10)
    a = {"first": flat[:5], "second": flat[5:]}
    other = flat.clone()
    other[7] = 1
    found = compared(a, {"first": other[:5], "second": other[5:]})
    assert [c.name for c in found.changed] == ["second"]
    assert found.identical == 1


def test_added_removed_shape_and_dtype(compared: Compare) -> None:
    a = {"model": {"gone": torch.zeros(1), "shape": torch.zeros(2), "dtype": torch.zeros(2), "same": torch.zeros(2)}}
    b = {
        "model": {
            "new": torch.zeros(1),
            "shape": torch.zeros(3),
            "dtype": torch.zeros(2).half(),
            "same": torch.zeros(2),
        }
    }
    found = compared(a, b)
    assert (found.added, found.removed, found.identical) == (("model.new",), ("model.gone",), 1)
    assert [(c.name, c.kind, c.a, c.b) for c in found.changed] == [
        ("model.shape", "shape", "float32 [2]", "float32 [3]"),
        ("model.dtype", "dtype", "float32 [2]", "float16 [2]"),
    ]


def test_metadata_metrics_config_and_other_values(compared: Compare) -> None:
    other = content(
        epoch=2,
        loss=math.inf,
        metrics={"val_loss": 0.25, "f1": 1.0},
        config={"net": {"width": 8, "name": "x"}, "tags": ["p"]},
        rng=tuple(range(1, 701)),
    )
    other["optimizer"]["param_groups"][0]["betas"] = (0.8, 0.99)
    found = compared(content(), other)
    assert {c.key: (c.a, c.b) for c in found.metadata if c.key not in ("format", "bytes")} == {
        "epoch": (1, 2),
        "loss": (0.5, math.inf),
    }
    changes = {c.key: (c.b, c.only) for c in found.metrics}
    assert changes == {"val_loss": (0.25, None), "acc": (None, "a"), "f1": (1.0, "b")}
    assert {c.key: (c.a, c.b) for c in found.config} == {"net.width": (4, 8), "tags": (["p", "q"], ["p"])}
    assert [c.key for c in found.values] == ["optimizer.param_groups.0.betas.0", "rng"]
    assert not found.same and found.changed == ()


def test_when_it_was_saved_is_told_and_is_no_difference(compared: Compare) -> None:
    found = compared(content(), content(save_timestamp=5.0))
    assert found.same and [change.key for change in found.metadata if change.key == "saved_at"] == ["saved_at"]


@pytest.mark.parametrize(
    "change",
    [
        {"empty": []},
        {"rng": (*range(699), 5)},
        {"config": {"net": {"width": 4, "name": "x"}, "tags": ["q", "p"]}},
        {"metrics": {"val_loss": math.nan, "acc": 0.5000000001}},
        {"note": None},
        {"config": {"net": {"width": True, "name": "x"}, "tags": ["p", "q"]}},
    ],
)
def test_any_other_change_is_a_difference(compared: Compare, change: dict[str, Any]) -> None:
    assert not compared(content(), content(**change)).same


def test_a_change_beyond_what_is_shown_of_a_config_is_a_difference(compared: Compare) -> None:
    a = {"config": {"words": [str(n) for n in range(30_000)], "text": "x" * 9000}, "epoch": 1}
    b = {"config": {"words": [str(n) for n in range(30_000)], "text": "x" * 9000}, "epoch": 1}
    assert compared(a, b).same
    b["config"]["words"][29_999] = "other"
    assert not compared(a, b).same
    b = {**a, "config": {**a["config"], "text": "x" * 8999 + "y"}}
    assert not compared(a, b).same


def test_safetensors_are_compared_by_their_bytes(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(400_000.0), "b": torch.zeros(3)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"epoch": "1"})
    save_file(tensors, tmp_path / "b.safetensors", metadata={"epoch": "1"})
    assert diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors").same
    tensors["a"][399_999] = 0
    save_file(tensors, tmp_path / "b.safetensors", metadata={"epoch": "2"})
    found = diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert [c.name for c in found.changed] == ["a"] and found.identical == 1
    assert {c.key for c in found.metadata} == {"epoch"} and {c.key for c in found.config} == {"epoch"}


def test_a_torch_file_and_a_safetensors_file_share_names(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    save_file(model.state_dict(), tmp_path / "b.safetensors")
    found = diff(tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert found.identical == 2 and not found.changed
    assert {c.key for c in found.metadata} == {"framework", "format", "bytes"}


def test_a_quick_comparison_reads_only_the_checksums_where_there_are_any(tmp_path: Path) -> None:
    big = torch.zeros(8 << 20)
    torch.save({"big": big}, tmp_path / "a.pt")
    torch.save({"big": big}, tmp_path / "b.pt")
    program = (
        "import os; from ckpt.diff import diff; read = []; real = os.pread\n"
        "os.pread = lambda *a: (read.append(a[1]), real(*a))[1]\n"
        f"assert diff({str(tmp_path / 'a.pt')!r}, {str(tmp_path / 'b.pt')!r}, quick=True).same; print(sum(read))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 200_000


def test_a_byte_that_was_damaged_since_is_seen_unless_the_checksums_are_believed(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.full((512,), 1.5), "b": torch.ones(3)}}, tmp_path / "a.pt")
    raw = bytearray((tmp_path / "a.pt").read_bytes())
    raw[raw.index(torch.full((512,), 1.5).numpy().tobytes()) + 1002] ^= 1
    (tmp_path / "copy.pt").write_bytes(raw)

    read = diff(tmp_path / "a.pt", tmp_path / "copy.pt")
    assert [(change.name, change.kind) for change in read.changed] == [("model.w", "value")]
    assert not read.same and (read.identical, read.by_checksum) == (1, 0)

    believed = diff(tmp_path / "a.pt", tmp_path / "copy.pt", quick=True)
    assert believed.same and (believed.identical, believed.by_checksum) == (2, 2)
    assert difference_to_json(believed)["tensors"]["by_checksum"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("turned", [False, True])
def test_memory_stays_small_whatever_the_size(tmp_path: Path, turned: bool) -> None:
    side = 5000  # 100 MB
    for name in ("a", "b"):
        tensor = torch.ones(side, side)
        torch.save(
            {"x": tensor.t() if turned else tensor}, tmp_path / f"{name}.pt", _use_new_zipfile_serialization=False
        )
    program = (
        "from ckpt.diff import diff\n"
        f"assert diff({str(tmp_path / 'a.pt')!r}, {str(tmp_path / 'b.pt')!r}).same\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(answer.stdout) < (64 << 20) // 1024


def test_files_that_cannot_be_compared_say_why(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save(content(), good)
    whole = good.read_bytes()
    bad.write_bytes(whole[:-40])
    with pytest.raises(IncompleteError, match=r"bad\.pt is not complete"):
        diff(good, bad)
    bad.write_bytes(whole + b"xx")
    with pytest.raises(CorruptError, match="cannot be compared"):
        diff(bad, good)
    bad.write_bytes(b"only text")
    with pytest.raises(FormatError, match="no known format"):
        diff(good, bad)
    with pytest.raises(FileNotFoundError):
        diff(good, tmp_path / "none.pt")


def test_views_that_overlap_themselves_end(tmp_path: Path) -> None:
    base = torch.zeros(1_000_001)
    for name in ("a", "b"):
        torch.save(
            {"x": base.as_strided((1_000_000, 1_000_000), (0, 1))},
            tmp_path / f"{name}.pt",
            _use_new_zipfile_serialization=False,
        )
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt").same
    torch.save({"x": base.as_strided((1_000_000, 1_000_000), (1, 0))}, tmp_path / "b.pt")
    with pytest.raises(CorruptError, match="overlaps itself"):
        diff(tmp_path / "a.pt", tmp_path / "b.pt")


def test_json_follows_the_contract(tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "a.pt")
    other = content(loss=math.nan)
    other["model"]["b"] = torch.ones(5)
    torch.save(other, tmp_path / "b.pt")
    shown = json.loads(json.dumps(difference_to_json(diff(tmp_path / "a.pt", tmp_path / "b.pt")), allow_nan=False))
    assert {"a", "b", "same", "metadata", "metrics", "config", "tensors"} <= set(shown)
    assert shown["same"] is False
    assert {"key": "loss", "a": 0.5, "b": None, "only": None, "nonfinite": ["b"]} in shown["metadata"]
    assert set(shown["tensors"]) == {"added", "removed", "changed", "identical", "by_checksum"}
    (changed,) = shown["tensors"]["changed"]
    assert (changed["name"], changed["kind"]) == ("model.b", "value")
    assert [changed[name] for name in ("max_abs", "l2", "relative_l2", "cosine")] == [None] * 4


def test_weights_alone_against_the_same_in_a_training(tmp_path: Path) -> None:
    weights = {"fc.weight": torch.arange(6.0), "fc.bias": torch.ones(2)}
    torch.save({"model": weights, "epoch": 3, "ema": {"decay": torch.ones(1)}}, tmp_path / "a.pt")
    torch.save({**weights, "fc.bias": torch.zeros(2)}, tmp_path / "b.pt")
    found = diff(tmp_path / "a.pt", tmp_path / "b.pt")
    assert found.prefixes == ("model.", "") and not found.same
    assert found.identical == 1 and [change.name for change in found.changed] == ["fc.bias"]
    assert found.removed == ("ema.decay",) and found.added == ()
    assert diff(tmp_path / "b.pt", tmp_path / "a.pt").prefixes == ("", "model.")
    torch.save({f"module.{name}": value for name, value in weights.items()}, tmp_path / "c.pt")
    torch.save(weights, tmp_path / "d.pt")
    found = diff(tmp_path / "c.pt", tmp_path / "d.pt")
    assert found.prefixes == ("module.", "") and found.identical == 2 and not found.same


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (["m.x", "m.y"], ["x", "y"], ("m.", "")),
        (["x"], ["m.n.x", "m.x"], ("", "m.")),
        (["m.x"], ["x", "y"], ("", "")),
        (["m.x", "x"], ["x"], ("", "")),
        (["mx"], ["x"], ("", "")),
        ([], ["x"], ("", "")),
    ],
)
def test_prefixes_of_names(a: list[str], b: list[str], expected: tuple[str, str]) -> None:
    assert prefixes(a, b) == expected
