"""Names of the files that DeepSpeed makes one checkpoint of, and what is one by them."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

MODEL = re.compile(r"(?:zero_pp_rank_(\d{1,6})_)?mp_rank_(\d{1,6})_model_states\.pt")
OPTIMIZER = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d{1,6})_mp_rank_(\d{1,6})_optim_states\.pt")
PART = re.compile(
    r"(layer_\d{1,6}|(?:layer_\d{1,6}_)?expert_\d{1,6})[-_].*model_states\.pt|layer_\d{1,6}-model_states\.pt"
)
EXPERTS = re.compile(r"expp_rank_\d{1,6}_mp_rank_\d{1,6}_optim_states\.pt")
_END = "_states.pt"


def is_member(name: str) -> bool:
    """Whether a file of that name is one that DeepSpeed writes."""
    return any(pattern.fullmatch(name) for pattern in (MODEL, OPTIMIZER, PART, EXPERTS))


def is_deepspeed(name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
    """By any file of a rank."""
    del name, directories
    return any(is_member(file) for file in files if file.endswith(_END))
