"""Pipelines of diffusers, laid out as `DiffusionPipeline.save_pretrained` does: a directory a part, the index last."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ckpt import formats, scan


def pipeline(directory: Path) -> Path:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": [None, None],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    weights = {
        "text_encoder": "model.safetensors",
        "unet": "diffusion_pytorch_model.safetensors",
        "vae": "diffusion_pytorch_model.fp16.safetensors",
    }
    for number, (name, file) in enumerate(weights.items(), 1):
        (directory / name).mkdir(parents=True)
        (directory / name / "config.json").write_text("{}")
        save_file({"w": torch.ones(number)}, directory / name / file)
    (directory / "scheduler").mkdir()
    (directory / "scheduler" / "scheduler_config.json").write_text("{}")
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def test_a_pipeline_is_one_checkpoint_of_weights(tmp_path: Path) -> None:
    found = formats.inspect(pipeline(tmp_path / "runs" / "stable"))
    assert (found.framework, found.state, found.problems) == ("diffusers", "complete", ())
    assert {t.name: t.shape for t in found.tensors} == {"text_encoder.w": (1,), "unet.w": (2,), "vae.w": (3,)}
    assert found.parameter_count == 6 and found.config["_class_name"] == "StableDiffusionPipeline"
    assert found.resume["model"] and not found.resume["optimizer"]
    assert scan.find_runs(tmp_path) == [tmp_path / "runs"]
    assert [c.path for c in scan.read_run(tmp_path / "runs").checkpoints] == [str(tmp_path / "runs" / "stable")]


def test_a_part_without_its_weights_is_missing(tmp_path: Path) -> None:
    directory = pipeline(tmp_path / "stable")
    (directory / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    found = formats.inspect(directory)
    assert (found.state, found.problems) == ("incomplete", ("unet/ holds no weights",))
    (directory / "unet" / "config.json").unlink()
    found = formats.inspect(directory)
    assert (found.state, found.problems) == ("incomplete", ("unet/ is missing, which model_index.json lists",))
