"""Lets Keras' BackupAndRestore keep the backup of a training, and writes what h5py and Keras read back.

DIRECTORY/epochs     after whole epochs
DIRECTORY/batches    within one, the former backup kept beside it
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"


def main(base: Path) -> None:
    """Trains twice."""
    import h5py
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    expected: dict[str, Any] = {"version": keras.__version__}
    rows = np.random.default_rng(1).normal(size=(32, 6)).astype("float32")
    for name, options in {"epochs": {}, "batches": {"save_freq": 3, "double_checkpoint": True}}.items():
        model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(1)])
        model.compile(optimizer="adam", loss="mse", run_eagerly=True)
        backup = keras.callbacks.BackupAndRestore(str(base / name), delete_checkpoint=False, **options)
        model.fit(rows, rows[:, :1], epochs=2, batch_size=8, verbose=0, callbacks=[backup])
        with h5py.File(base / name / "latest.weights.h5") as file:
            parts = sorted(file)
        told = json.loads((base / name / "training_metadata.json").read_text())
        expected[name] = {"parts": parts, "epoch": told["epoch"], "batch": told["batch"]}
    (base / "expected.json").write_text(json.dumps(expected))


main(Path(sys.argv[1]))
