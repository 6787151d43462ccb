"""`keras.datasets.mnist`: handwritten digits, from Keras's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def load_data(path: str = "mnist.npz") -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns `(x_train, y_train), (x_test, y_test)`: images of [count, 28, 28], uint8, and their digits.

    Args:
      path: the file: as it is if it exists, else in `~/.keras/datasets`.

    Raises:
      FileNotFoundError: if it is in neither place; what to put where is said.
      ValueError: if it does not hold the four arrays.
    """
    own = Path(path)
    file = own if own.is_file() else Path.home() / ".keras" / "datasets" / own.name
    if not file.is_file():
        raise FileNotFoundError(
            f"MNIST is not at {file}: graphflow fetches nothing. Put mnist.npz, as Keras distributes it (arrays"
            " x_train, y_train, x_test, y_test), there, or give its path."
        )
    with np.load(file, allow_pickle=False) as arrays:
        missing = [name for name in ("x_train", "y_train", "x_test", "y_test") if name not in arrays]
        if missing:
            raise ValueError(f"{file} does not hold {', '.join(missing)}")
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


__all__ = ["load_data"]
