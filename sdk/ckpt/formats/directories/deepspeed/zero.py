"""Puts the weights together that ZeRO stage 3 has spread over ranks: every parameter cut into equal shares.

The shares of one rank lie one after another in its flat groups, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.formats.directories.common.joined import Piece, is_flat, join
from ckpt.formats.pickled.values import Opaque, Tensor, mapping_of
from ckpt.formats.source import Damaged, TooLarge

_MAX_ELEMENTS = 1 << 60
_MAX_PIECES = 1_000_000


def whole_weights(states: Sequence[Mapping[Any, Any]], optimizers: Sequence[Mapping[Any, Any]]) -> dict[str, Tensor]:
    """The parameters by their names, in the order of their groups; {} where the files do not tell their shapes.

    `states` are the model states of the data parallel ranks in order, `optimizers` their optimizer states. Raises
    Damaged when the shares do not hold what the shapes ask for, TooLarge when there are too many of them to follow.
    """
    named = shapes_of(states[0]) if states else []
    cut = [_flats(state.get("fp32_flat_groups")) for state in optimizers]
    if len(named) * len(cut) > _MAX_PIECES:
        raise TooLarge(f"its weights lie in more than {_MAX_PIECES} pieces")
    found = _by_parameter(named, cut) if cut and all(cut) else {}
    return found | _frozen(states)


def shapes_of(state: Mapping[Any, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the parameters that an optimizer owns, by a model state; [] where it does not tell."""
    return [pair for group in _shapes(state.get("param_shapes")) for pair in group]


def _by_parameter(named: Sequence[tuple[str, tuple[int, ...]]], cut: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    start = 0
    for name, shape in named:
        elements = math.prod(shape)
        share = -(-elements // len(cut))
        pieces: list[Piece] = []
        for flats in cut:
            wanted = min(share, elements - sum(piece.count for piece in pieces))
            pieces += _taken(name, flats, start, wanted)
        found[name] = join(pieces, shape, cut[0][0].dtype)
        start += share
    return found


def _taken(name: str, flats: Sequence[Tensor], start: int, count: int) -> list[Piece]:
    """Pieces that cover `count` elements from `start` on of some flat tensors one after another."""
    pieces: list[Piece] = []
    for flat in flats:
        length = flat.shape[0]
        if count > 0 and start < length:
            piece = Piece(flat, start, min(count, length - start))
            pieces.append(piece)
            count -= piece.count
            start += piece.count
        start -= length
    if count > 0:
        raise Damaged(f"the partitions end {count} elements before parameter {name[:200]!r} does")
    return pieces


def _frozen(states: Sequence[Mapping[Any, Any]]) -> dict[str, Tensor]:
    """Parameters that no optimizer owns: their pieces lie in the model states."""
    found: dict[str, Tensor] = {}
    for name, shape in (_shapes([states[0].get("frozen_param_shapes")]) or [[]])[0]:
        pieces: list[Piece] = []
        missing = math.prod(shape)
        for state in states:
            fragment = (mapping_of(state.get("frozen_param_fragments")) or {}).get(name)
            if type(fragment) is Tensor and is_flat(fragment) and missing > 0:
                pieces.append(Piece(fragment, 0, min(missing, fragment.shape[0])))
                missing -= pieces[-1].count
        if pieces and not missing:
            found[name] = join(pieces, shape, pieces[0].flat.dtype)
    return found


def _flats(value: Any) -> list[Tensor]:
    """The flat tensors of a list, all of one dtype; [] when it is something else."""
    if type(value) not in (list, tuple) or not value or not all(is_flat(item) for item in value):
        return []
    return list(value) if len({item.dtype for item in value}) == 1 else []


def _shapes(value: Any) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Names and shapes of parameters, group by group; [] when one of them is none."""
    groups: list[list[tuple[str, tuple[int, ...]]]] = []
    for group in value if type(value) in (list, tuple) else ():
        named: list[tuple[str, tuple[int, ...]]] = []
        for name, shape in (mapping_of(group) or {}).items():
            sizes = _sizes(shape)
            if type(name) is not str or sizes is None:
                return []
            named.append((name, sizes))
        groups.append(named)
    return groups


def _sizes(value: Any) -> tuple[int, ...] | None:
    if type(value) is Opaque and len(value.args) == 1:  # a torch.Size in a file of some versions
        value = value.args[0]
    if type(value) not in (list, tuple) or len(value) > 64:
        return None
    sizes = tuple(value)
    if not all(type(size) is int and 0 <= size < _MAX_ELEMENTS for size in sizes) or math.prod(sizes) > _MAX_ELEMENTS:
        return None
    return sizes
