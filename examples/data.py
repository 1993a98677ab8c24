"""Images and labels to train on: the embedded digits, MNIST-style IDX files, CIFAR-10 binary batches.

Every file is checked before its values are used: magic number, dimensions, exact length, label range.
Whatever is wrong with one raises ``DataError`` with a message of one line that names the file.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

__all__ = ["CLASSES", "DataError", "Dataset", "load_directory", "load_embedded_digits", "read_cifar_batch", "read_idx"]

Labels = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

CLASSES = 10
SMALLEST_IMAGE = 3  # the two poolings of the network need as much
GZIP_MAGIC = b"\x1f\x8b"
IDX_UNSIGNED_BYTE = 0x08
CIFAR_SHAPE = (3, 32, 32)
CIFAR_RECORD_BYTES = 1 + math.prod(CIFAR_SHAPE)
CIFAR_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST_FILE = "test_batch.bin"


class DataError(Exception):
    """A data file is missing, truncated or not what its name says; the message is one line."""


class Dataset(NamedTuple):
    """Training and held-out images, channels first, as the bytes that the files hold, with their labels."""

    name: str
    train_images: Bytes
    train_labels: Labels
    test_images: Bytes
    test_labels: Labels


def load_embedded_digits(seed: int) -> Dataset:
    """Return the 1797 digits that scikit-learn ships; 20 % of each class is held out.

    Parameters
    ----------
    seed : int
        Chooses which images are held out.

    Returns
    -------
    Dataset
        1437 training and 360 held-out images of shape (1, 8, 8).
    """
    digits = load_digits()
    images = digits.images[:, None].astype(np.uint8)
    labels = digits.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=seed
    )
    return Dataset("scikit-learn digits", train_images, train_labels, test_images, test_labels)


def load_directory(directory: Path) -> Dataset:
    """Return the dataset whose files lie in `directory`: MNIST-style IDX files or CIFAR-10 binary batches.

    Parameters
    ----------
    directory : Path
        Holds either ``train-images-idx3-ubyte`` and its three companions (each may end in ``.gz``) or
        ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.

    Returns
    -------
    Dataset
        Held out are the images that the files themselves declare as the test set.

    Raises
    ------
    DataError
        A file is missing, truncated, or not what its name says.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: not a directory")
    if any(directory.glob("*_batch*.bin")):
        return _load_cifar(directory)
    if any(directory.glob("*-idx?-ubyte*")) or any(directory.glob("*.idx?-ubyte*")):
        return _load_idx(directory)
    raise DataError(
        f"{directory}: holds neither MNIST files (train-images-idx3-ubyte) nor CIFAR-10 files ({CIFAR_TEST_FILE})"
    )


def read_idx(path: Path, rank: int) -> Bytes:
    """Return the array of one IDX file of unsigned bytes, plain or gzip-compressed.

    Parameters
    ----------
    path : Path
        The file. Compression is recognised by its first bytes, not by its name.
    rank : int
        Number of dimensions the array must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8
        With the dimensions that the file declares.

    Raises
    ------
    DataError
        The magic number, a dimension or the length is wrong.
    """
    content = _read_bytes(path)
    header_bytes = 4 + 4 * rank
    if len(content) < header_bytes:
        raise DataError(f"{path}: truncated, {len(content)} bytes cannot hold the {header_bytes}-byte IDX header")
    if content[:4] != bytes((0, 0, IDX_UNSIGNED_BYTE, rank)):
        raise DataError(f"{path}: not an IDX file of {rank}-dimensional bytes, magic number is 0x{content[:4].hex()}")
    shape = struct.unpack(f">{rank}I", content[4:header_bytes])
    if 0 in shape:
        raise DataError(f"{path}: every dimension must be at least 1, got {shape}")
    expected_bytes = header_bytes + math.prod(shape)
    if len(content) != expected_bytes:
        fault = "truncated" if len(content) < expected_bytes else "too long"
        raise DataError(f"{path}: {fault}, dimensions {shape} need {expected_bytes} bytes, got {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def read_cifar_batch(path: Path) -> tuple[Bytes, Bytes]:
    """Return the images and labels of one CIFAR-10 binary batch.

    Parameters
    ----------
    path : Path
        A whole number of records, each one label byte and 3072 bytes of colour planes.

    Returns
    -------
    images : ndarray of uint8, shape (records, 3, 32, 32)
    labels : ndarray of uint8, shape (records,)

    Raises
    ------
    DataError
        The length is not a whole number of records, or a label is above 9.
    """
    content = _read_bytes(path)
    if not content or len(content) % CIFAR_RECORD_BYTES:
        raise DataError(
            f"{path}: truncated or not a CIFAR-10 batch, length must be a positive multiple of "
            f"{CIFAR_RECORD_BYTES} bytes, got {len(content)}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD_BYTES)
    labels = records[:, 0]
    _check_labels(path, labels)
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE), labels


def _load_idx(directory: Path) -> Dataset:
    train_images, train_labels = _read_idx_pair(directory, "train")
    test_images, test_labels = _read_idx_pair(directory, "t10k")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{directory}: training and test images must have one size, "
            f"got {train_images.shape[1:]} and {test_images.shape[1:]}"
        )
    if min(train_images.shape[1:]) < SMALLEST_IMAGE:
        raise DataError(
            f"{directory}: images must be at least {SMALLEST_IMAGE} pixels wide and high, got {train_images.shape[1:]}"
        )
    return _dataset(directory, train_images[:, None], train_labels, test_images[:, None], test_labels)


def _read_idx_pair(directory: Path, prefix: str) -> tuple[Bytes, Bytes]:
    images_path = _find_idx(directory, f"{prefix}-images", rank=3)
    labels_path = _find_idx(directory, f"{prefix}-labels", rank=1)
    images, labels = read_idx(images_path, rank=3), read_idx(labels_path, rank=1)
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: must hold one label for each of the {len(images)} images, got {len(labels)}")
    _check_labels(labels_path, labels)
    return images, labels


def _find_idx(directory: Path, stem: str, rank: int) -> Path:
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = directory / f"{stem}{separator}idx{rank}-ubyte{suffix}"
            if path.exists():
                return path
    raise DataError(f"{directory / stem}-idx{rank}-ubyte: missing (nor is it there with .gz)")


def _load_cifar(directory: Path) -> Dataset:
    for name in (*CIFAR_TRAIN_FILES, CIFAR_TEST_FILE):
        if not (directory / name).exists():
            raise DataError(f"{directory / name}: missing")
    batches = [read_cifar_batch(directory / name) for name in CIFAR_TRAIN_FILES]
    train_images = np.concatenate([images for images, _ in batches])
    train_labels = np.concatenate([labels for _, labels in batches])
    return _dataset(directory, train_images, train_labels, *read_cifar_batch(directory / CIFAR_TEST_FILE))


def _dataset(
    directory: Path, train_images: Bytes, train_labels: Bytes, test_images: Bytes, test_labels: Bytes
) -> Dataset:
    return Dataset(
        str(directory), train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64)
    )


def _check_labels(path: Path, labels: Bytes) -> None:
    if labels.max() >= CLASSES:
        raise DataError(f"{path}: labels must be 0 to {CLASSES - 1}, got {labels.max()}")


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except EOFError:
        raise DataError(f"{path}: truncated, the compressed stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
