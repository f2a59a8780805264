"""Trains a small network with Keras on torch; writes what Keras reads back.

`python -P keras.py DIRECTORY` makes `w.NN-LOSS.keras`, `w.NN-LOSS.weights.h5` and `expected.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np


def main(base: Path) -> None:
    """Writes everything below `base`."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    pattern = "w.{epoch:02d}-{loss:.2f}"
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(base / f"{pattern}.keras")),
        keras.callbacks.ModelCheckpoint(str(base / f"{pattern}.weights.h5"), save_weights_only=True),
    ]
    model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, verbose=0, callbacks=callbacks)
    found = {}
    for path in sorted(base.glob("*.keras")):
        loaded = keras.saving.load_model(path)
        found[path.name] = {
            "epoch": int(path.name.split(".")[1].split("-")[0]),
            "learning_rate": float(loaded.optimizer.learning_rate),
            "class_name": type(loaded).__name__,
            "units": [layer.units for layer in loaded.layers],
        }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
