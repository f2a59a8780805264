"""Pipelines of diffusers: the weights of several models, a directory each, and an index that names them."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface import shards
from ckpt.formats.directories.huggingface.names import CONFIG, PIPELINE
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

_SINGLE = re.compile(r"diffusion_pytorch_model(?:\.\w{1,20})?\.(?:safetensors|bin)")
_MAX_MODELS = 64


class Pipeline(Kind):
    """Weights for use and nothing of a training. Whole when every model that the index lists has its weights."""

    framework: ClassVar[str] = "diffusers"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._index: dict[str, Any] = {}
        self._weights: dict[str, Any] = {}

    def prove(self) -> None:
        self._index = self._gathering.mapping(PIPELINE)
        listed = [name for name, classes in self._index.items() if _is_there(name, classes)]
        for name in listed[:_MAX_MODELS]:
            if not any(member.startswith(f"{name}/") for member in self.folder.files):
                raise Unfinished(f"{name[:200]}/ is missing, which {PIPELINE} lists")
            tensors = self._tensors(f"{name}/")
            # Schedulers and tokenizers have configurations of other names, and no weights.
            if not tensors and f"{name}/{CONFIG}" in self.folder.files and not self._gathering.omitted:
                raise Unfinished(f"{name[:200]}/ holds no weights")
            self._weights.update({f"{name}.{tensor}": value for tensor, value in tensors.items()})

    def read(self) -> Contents:
        found = told(self._weights, self.framework)
        found.config = Plain(Scalars()).mapping(self._index)
        return Contents(found, self._weights, self._gathering.unknown_globals, self._gathering.omitted)

    def _tensors(self, prefix: str) -> dict[str, Any]:
        single = [
            name for name in self.folder.files if name.startswith(prefix) and _SINGLE.fullmatch(name, len(prefix))
        ]
        if single:
            # Of several precisions the one without a word for it.
            return dict(mapping_of(self._gathering.tree(min(single, key=lambda name: (len(name), name)))) or {})
        return shards.preferred(self._gathering, prefix)


def _is_there(name: str, classes: object) -> bool:
    """Whether an entry of the index is a part that was saved: [library, class], both null for one that is left out."""
    return "/" not in name and isinstance(classes, list) and len(classes) == 2 and classes[1] is not None
