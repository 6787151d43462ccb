"""MNIST from files on disk: `read_data_sets`, as the tutorials call it. Nothing is fetched from anywhere."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.dtypes import as_dtype, float32, uint8

Array = np.ndarray[Any, Any]

Datasets = namedtuple("Datasets", ["train", "validation", "test"])

# What the files hold: the name that Yann LeCun gave them, and whether they are images.
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_MOST_BYTES = 1 << 31


class DataSet:
    """Images and labels that are given out batch by batch, shuffled anew for every epoch.

    Args:
      images: [count, rows, columns, 1], uint8.
      labels: [count] or [count, classes].
      fake_data: makes up examples, all alike.
      one_hot: whether made-up labels are rows.
      dtype: float32 scales pixels to [0, 1]; uint8 keeps them.
      reshape: whether images become rows of [rows * columns].
      seed: of the shuffling; default other ones every time.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        fake_data: bool = False,
        one_hot: bool = False,
        dtype: Any = float32,
        reshape: bool = True,
        seed: int | None = None,
    ) -> None:
        self._random = np.random.RandomState(seed)
        kind = as_dtype(dtype)
        if kind not in (uint8, float32):
            raise TypeError(f"Invalid image dtype {kind}, expected uint8 or float32")
        self.one_hot = one_hot
        self._fake = fake_data
        self._epochs = 0
        self._at = 0
        if fake_data:
            self._count = 10000
            return
        images, labels = np.asarray(images), np.asarray(labels)
        self._images: Array
        self._labels: Array
        if images.shape[0] != labels.shape[0]:
            raise ValueError(f"images.shape: {images.shape} labels.shape: {labels.shape}")
        self._count = images.shape[0]
        if reshape:
            if images.shape[3] != 1:
                raise ValueError(f"only images of one channel become rows, got shape {images.shape}")
            images = images.reshape(images.shape[0], images.shape[1] * images.shape[2])
        if kind is float32:
            images = np.multiply(images.astype(np.float32), 1.0 / 255.0)
        self._images, self._labels = images, labels

    @property
    def images(self) -> Array:
        """All images, in the present order."""
        return self._images

    @property
    def labels(self) -> Array:
        """All labels, in the present order."""
        return self._labels

    @property
    def num_examples(self) -> int:
        """How many there are."""
        return self._count

    @property
    def epochs_completed(self) -> int:
        """How often all have been given out."""
        return self._epochs

    def next_batch(self, batch_size: int, fake_data: bool = False, shuffle: bool = True) -> tuple[Any, Any]:
        """Returns the next `(images, labels)`.

        Args:
          batch_size: how many.
          fake_data: makes them up.
          shuffle: whether the order is new in every epoch.
        """
        if fake_data or self._fake:
            label: Any = [1] + [0] * 9 if self.one_hot else 0
            return [[1] * 784 for _ in range(batch_size)], [label for _ in range(batch_size)]
        start = self._at
        if self._epochs == 0 and start == 0 and shuffle:
            self._shuffle()
        if start + batch_size <= self._count:
            self._at = start + batch_size
            return self._images[start : self._at], self._labels[start : self._at]
        # What is left of this epoch, and the beginning of the next.
        self._epochs += 1
        rest_images, rest_labels = self._images[start:], self._labels[start:]
        if shuffle:
            self._shuffle()
        self._at = batch_size - (self._count - start)
        images = np.concatenate((rest_images, self._images[: self._at]), axis=0)
        return images, np.concatenate((rest_labels, self._labels[: self._at]), axis=0)

    def _shuffle(self) -> None:
        order = self._random.permutation(self._count)
        self._images, self._labels = self._images[order], self._labels[order]


def _read(folder: Path, name: str, magic: int) -> Array:
    """Reads an idx file, packed or not.

    Raises:
      FileNotFoundError: if it is not there; what to put where is said.
      ValueError: if it is damaged.
    """
    packed, plain = folder / f"{name}.gz", folder / name
    path = packed if packed.exists() else plain
    if not path.exists():
        raise FileNotFoundError(
            f"MNIST is not in {str(folder)!r}: {name}.gz (or {name}) is missing. graphflow fetches nothing; put the"
            f" four files {TRAIN_IMAGES}.gz, {TRAIN_LABELS}.gz, {TEST_IMAGES}.gz and {TEST_LABELS}.gz, as MNIST is"
            " distributed, into that folder."
        )
    try:
        if path is packed:
            with gzip.open(path) as file:
                data = file.read(_MOST_BYTES)
        else:
            data = path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    axes = 3 if magic == _IMAGES_MAGIC else 1
    head = 4 * (axes + 1)
    if len(data) < head or struct.unpack(">I", data[:4])[0] != magic:
        raise ValueError(
            f"{path}: not an idx file of {'images' if axes == 3 else 'labels'} (magic number {magic})"
        )
    sizes = struct.unpack(f">{axes}I", data[4:head])
    body = np.frombuffer(data, np.uint8, offset=head)
    wanted = 1
    for size in sizes:
        wanted *= size
    if body.size != wanted:
        raise ValueError(f"{path}: announces {sizes}, that is {wanted} bytes, and has {body.size}")
    return body.reshape(*sizes, 1) if axes == 3 else body


def extract_images(f: Any) -> Array:
    """Returns the images of an open, packed idx file, [count, rows, columns, 1]."""
    return _read(Path(f.name).parent, Path(f.name).name.removesuffix(".gz"), _IMAGES_MAGIC)


def extract_labels(f: Any, one_hot: bool = False, num_classes: int = 10) -> Array:
    """Returns the labels of an open, packed idx file, [count], or as rows of [classes]."""
    labels = _read(Path(f.name).parent, Path(f.name).name.removesuffix(".gz"), _LABELS_MAGIC)
    return dense_to_one_hot(labels, num_classes) if one_hot else labels


def dense_to_one_hot(labels_dense: Any, num_classes: int) -> Array:
    """Returns rows with a one at the label's place, [count, classes]."""
    rows: Array = np.eye(num_classes)[np.asarray(labels_dense)]
    return rows


def read_data_sets(
    train_dir: Any,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = float32,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str = "",
) -> Any:
    """Reads MNIST from a folder.

    Args:
      train_dir: the folder with the four idx files, packed by gzip or not.
      fake_data: makes up examples and reads nothing.
      one_hot: whether labels are rows of [10] instead of numbers.
      dtype: float32 scales pixels to [0, 1]; uint8 keeps them.
      reshape: whether images become rows of [784] instead of [28, 28, 1].
      validation_size: how many of the training examples are for validation.
      seed: of the shuffling.
      source_url: accepted; nothing is fetched.

    Returns:
      `(train, validation, test)`, three `DataSet`s.

    Raises:
      FileNotFoundError: if a file is missing; what to put where is said.
      ValueError: if a file is damaged, or there are fewer training examples than are to validate.
    """
    del source_url
    if fake_data:
        made = DataSet([], [], fake_data=True, one_hot=one_hot, dtype=dtype, seed=seed)
        return Datasets(train=made, validation=made, test=made)
    folder = Path(train_dir)
    images, test_images = (_read(folder, name, _IMAGES_MAGIC) for name in (TRAIN_IMAGES, TEST_IMAGES))
    labels, test_labels = (_read(folder, name, _LABELS_MAGIC) for name in (TRAIN_LABELS, TEST_LABELS))
    if one_hot:
        labels, test_labels = dense_to_one_hot(labels, 10), dense_to_one_hot(test_labels, 10)
    if not 0 <= validation_size <= len(images):
        raise ValueError(
            f"Validation size should be between 0 and {len(images)}. Received: {validation_size}."
        )
    n = validation_size
    parts = [(images[n:], labels[n:]), (images[:n], labels[:n]), (test_images, test_labels)]
    sets = [DataSet(x, y, dtype=dtype, reshape=reshape, seed=seed) for x, y in parts]
    return Datasets(*sets)


__all__ = ["DataSet", "Datasets", "dense_to_one_hot", "extract_images", "extract_labels", "read_data_sets"]
