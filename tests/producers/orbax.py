"""Writes checkpoints with Orbax, and what Orbax itself restores from them.

DIRECTORY/managed/{10,20,30}    a manager's steps: a training state, a JSON item, metrics
DIRECTORY/managed/40.orbax-…    the save during which the process ended
DIRECTORY/prefixed/ckpt_0007    a manager's step under a prefix, with zeros
DIRECTORY/items/5               several trees as items of one step
DIRECTORY/weights               one tree of weights, saved by itself
DIRECTORY/files                 the same, each array in its own directory
DIRECTORY/zarr3                 the same in the third version of zarr
DIRECTORY/wide                  a database of many nodes, as TensorStore writes it
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from orbax.checkpoint._src.path import atomicity
from orbax.checkpoint.experimental import v1


class Adam(NamedTuple):
    """The state of an optimizer as optax keeps it: attributes, not keys."""

    count: jax.Array
    mu: dict[str, Any]


def state(step: int) -> dict[str, Any]:
    """A training state of some steps."""
    random = np.random.default_rng(step)
    params = {
        "dense": {
            "kernel": jnp.asarray(random.normal(size=(6, 4)), jnp.float32),
            "bias": jnp.asarray(random.normal(size=(4,)), jnp.bfloat16),
        },
        "embedding": jnp.asarray(random.normal(size=(64, 32)), jnp.float32),
    }
    moments = jax.tree.map(lambda leaf: leaf * 0.5, params)
    return {
        "params": params,
        "opt_state": [Adam(jnp.array(step, jnp.int32), moments), {}],
        "step": step,
        "rng": jax.random.key_data(jax.random.key(step)),
        "learning_rate": 0.25,
        "note": "warm",
    }


def named(tree: Any) -> dict[str, dict[str, Any]]:
    """Shape, dtype and values of every array by its dotted name."""
    found: dict[str, dict[str, Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path)
        if isinstance(leaf, jax.Array | np.ndarray):
            values = np.asarray(leaf).astype(np.float64).ravel()[:8].tolist()
            found[name] = {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "values": values}
    return found


def wide(path: Path) -> dict[str, str]:
    """Keys and values of a database whose nodes are so small that it needs many, some values outside of them."""
    config = {"max_decoded_node_bytes": 1500, "max_inline_value_bytes": 20}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/", "config": config}).result()
    values = {f"layer{index:04d}/{part}": f"{index} " * (index % 20) for index in range(300) for part in ("a", "b")}
    with tensorstore.Transaction() as transaction:
        for key, value in values.items():
            store.with_transaction(transaction)[key] = value.encode()
    return values


def main(base: Path) -> None:
    """Writes everything; the process ends within the last save."""
    jax.config.update("jax_platforms", "cpu")
    expected: dict[str, Any] = {"version": ocp.__version__}
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None, best_fn=lambda metrics: metrics["accuracy"], best_mode="max", enable_async_checkpointing=False
    )
    manager = ocp.CheckpointManager(base / "managed", options=options)
    for step in (10, 20, 30):
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state(step)), config=ocp.args.JsonSave({"width": 4, "name": "tiny"})
        )
        manager.save(step, args=items, metrics={"accuracy": 1 - abs(step - 20) / 100, "loss": 1 / step})
    expected["managed"] = {}
    for step in manager.all_steps():
        restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.PyTreeRestore()))
        expected["managed"][str(step)] = {
            "arrays": named(restored["state"]),
            "step": restored["state"]["step"],
            "learning_rate": restored["state"]["learning_rate"],
            "metrics": manager.metrics(step),
            "commit": manager._checkpointer.metadata(base / "managed" / str(step)).commit_timestamp_nsecs,
        }
    prefixed = ocp.CheckpointManagerOptions(
        step_prefix="ckpt", step_format_fixed_length=4, enable_async_checkpointing=False
    )
    with ocp.CheckpointManager(base / "prefixed", options=prefixed) as other:
        other.save(7, args=ocp.args.StandardSave(state(7)["params"]))
    with ocp.CheckpointManager(base / "items", options=ocp.CheckpointManagerOptions()) as other:
        whole = state(5)
        other.save(
            5,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(whole["params"]), opt_state=ocp.args.StandardSave(whole["opt_state"])
            ),
        )
    weights = state(1)["params"]
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(base / "weights", weights)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(base / "files", weights)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=True)) as checkpointer:
        checkpointer.save(base / "zarr3", weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with v1.training.Checkpointer(base / "current") as trainer:
            trainer.save_pytree(8, {"params": weights, "step": 8}, metrics={"accuracy": 0.5})
    expected["weights"] = named(weights)
    expected["wide"] = wide(base / "wide")
    (base / "expected.json").write_text(json.dumps(expected))
    atomicity.AtomicRenameTemporaryPath.finalize = lambda self, *args, **kwargs: os._exit(0)
    manager.save(40, args=ocp.args.Composite(state=ocp.args.PyTreeSave(state(40))), metrics={"accuracy": 0.0})


main(Path(sys.argv[1]))
