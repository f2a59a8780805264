"""Which files of a checkpoint directory count for what it is and when it was saved, told by their names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.directories.belonging import dating, identifying, is_incidental

Produced = Callable[[str], Path]

PARTS = """
model.safetensors optimizer.pt rng_state.pth model.safetensors.index.json .metadata .metadata.json __0_0.distcp latest
w/.zarray d/0/manifest.ocdbt _METADATA _CHECKPOINT_METADATA commit_success.txt HEAD train/rank0.pt spike.bin notes.bin
checkpoint-is-incomplete.txt random_states_0.pkl
"""
OTHERS = """
README.md .DS_Store Thumbs.db eval_results.json sub/eval.json tokenizer.json tokenizer.model tokenizer.model.v3
spiece.model vocab.txt merges.txt chat_template.jinja zero_to_fp32.py plot.PNG .cache/huggingface/x.metadata a.ipynb
.ipynb_checkpoints/model.bin model.bin~ .nfs000012 config.yaml run.log out.csv sentencepiece.bpe.model
"""


@pytest.mark.parametrize("name", PARTS.split())
def test_parts_of_a_checkpoint(name: str) -> None:
    assert not is_incidental(name)
    assert identifying([name], ()) == [name]


@pytest.mark.parametrize("name", OTHERS.split())
def test_what_may_come_and_go(name: str) -> None:
    assert is_incidental(name)
    assert identifying([name, "model.pt"], ()) == ["model.pt"]
    assert identifying([name, "model.pt"], {name}) == [name, "model.pt"]
    assert dating([name, "model.pt"]) == ["model.pt"]


@pytest.mark.parametrize("last", ["trainer_state.json", "metadata.json", ".metadata.json", "commit_success.txt"])
def test_what_is_written_last_tells_when(last: str) -> None:
    assert dating([last, "config.json", "generation_config.json", "model.pt"]) == [last, "model.pt"]
    assert dating([f"weights/{last}", "model.pt"]) == [f"weights/{last}", "model.pt"]


def test_where_there_is_nothing_else_everything_tells_when() -> None:
    assert dating(["config.json", "README.md"]) == ["config.json", "README.md"]
    assert dating([]) == []


@pytest.mark.parametrize(
    "sharded",
    [
        "global_step5/mp_rank_00_model_states.pt",
        "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "pytorch_model_fsdp_0/__0_0.distcp",
    ],
)
def test_weights_that_are_put_together_of_an_engines_files(sharded: str) -> None:
    whole = ["pytorch_model.bin", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    assert identifying([*whole, sharded], whole) == [sharded]
    assert dating([*whole, sharded]) == [sharded]
    assert identifying(whole, ()) == whole
    assert identifying(["pytorch_model.bin", "optimizer_0/__0_0.distcp"], ()) == [
        "pytorch_model.bin",
        "optimizer_0/__0_0.distcp",
    ]


@pytest.mark.parametrize("name", ["transformers", "accelerate", "orbax", "dcp", "lightning_sharded", "keras_backup"])
def test_files_that_come_later_change_no_fingerprint(
    produced: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Of no checkpoint directory that a library writes."""
    base = produced(name)
    found = 0
    for place, directories, files in os.walk(base):
        if known.recognise(Path(place).name, set(files), set(directories)) is None:
            continue
        directories.clear()
        copied = tmp_path / str(found) / Path(place).name
        shutil.copytree(place, copied)
        before = inspect(copied)
        for stray in ("README.md", ".DS_Store", "eval_results.json", "special_tokens_map.json"):
            (copied / stray).write_text("{}")
        after = inspect(copied)
        assert (after.state, after.fingerprint, after.step) == (before.state, before.fingerprint, before.step), place
        found += 1
    assert found
