"""examples/: the loaders accept what they should, refuse the rest with one line, and training lowers the loss."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import convpool
import numpy as np
import numpy.typing as npt
import pytest

for dependency in ("sklearn", "matplotlib", "tqdm"):
    pytest.importorskip(dependency, reason="the examples need the extra 'train'")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRAIN = EXAMPLES / "train.py"
CIFAR_FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]

Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def examples() -> Iterator[Callable[[str], ModuleType]]:
    """Return an importer of the examples' modules, which live in no package."""
    import importlib

    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module
    sys.path.remove(str(EXAMPLES))
    for name in {"data", "network", "report", "train"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def data(examples: Callable[[str], ModuleType]) -> ModuleType:
    return examples("data")


def idx_bytes(array: Bytes, magic: bytes | None = None) -> bytes:
    """Return the IDX file of an array of bytes."""
    header = magic or bytes((0, 0, 8, array.ndim))
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def random_bytes(*shape: int, below: int = 256) -> Bytes:
    return np.random.default_rng(0).integers(0, below, shape, dtype=np.uint8)


def write_mnist(directory: Path, compressed: bool = False, train: int = 40, test: int = 20) -> dict[str, Bytes]:
    """Write the four files of an MNIST-like dataset of 12x10 images; return their arrays."""
    arrays = {
        "train-images-idx3-ubyte": random_bytes(train, 12, 10),
        "train-labels-idx1-ubyte": random_bytes(train, below=10),
        "t10k-images-idx3-ubyte": random_bytes(test, 12, 10),
        "t10k-labels-idx1-ubyte": random_bytes(test, below=10),
    }
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = directory / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
    return arrays


def write_cifar(directory: Path, records: int = 3) -> Bytes:
    """Write the six files of a CIFAR-10-like dataset, all alike; return the records."""
    table = random_bytes(records, 3073)
    table[:, 0] %= 10
    for name in CIFAR_FILES:
        (directory / name).write_bytes(table.tobytes())
    return table


# loaders -------------------------------------------------------------------------------------------------------------


def test_embedded_digits_hold_out_a_fifth_of_each_class(data: ModuleType) -> None:
    digits = data.load_embedded_digits(seed=3)
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.train_images.max() == 16
    assert np.bincount(digits.test_labels).min() >= 34
    again, other = data.load_embedded_digits(seed=3), data.load_embedded_digits(seed=4)
    np.testing.assert_array_equal(again.test_images, digits.test_images)
    assert not np.array_equal(other.test_images, digits.test_images)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_idx_directory(data: ModuleType, tmp_path: Path, compressed: bool) -> None:
    arrays = write_mnist(tmp_path, compressed)
    dataset = data.load_directory(tmp_path)
    np.testing.assert_array_equal(dataset.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.train_labels, arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(dataset.test_images[:, 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test_labels, arrays["t10k-labels-idx1-ubyte"])


def test_idx_names_with_a_dot(data: ModuleType, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert data.load_directory(tmp_path).train_images.shape == (40, 1, 12, 10)


def test_cifar_directory(data: ModuleType, tmp_path: Path) -> None:
    table = write_cifar(tmp_path)
    dataset = data.load_directory(tmp_path)
    assert dataset.train_images.shape == (15, 3, 32, 32)
    np.testing.assert_array_equal(dataset.test_labels, table[:, 0])
    np.testing.assert_array_equal(dataset.train_images[3:6].reshape(3, -1), table[:, 1:])


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD_IMAGES, GOOD_LABELS = idx_bytes(random_bytes(40, 12, 10)), idx_bytes(random_bytes(40, below=10))
BAD_IDX_FILES = {
    "empty": (IMAGES, b"", "truncated, 0 bytes cannot hold"),
    "header_cut": (IMAGES, GOOD_IMAGES[:11], "truncated, 11 bytes cannot hold the 16-byte IDX header"),
    "pixels_cut": (IMAGES, GOOD_IMAGES[:-1], "truncated, dimensions (40, 12, 10) need 4816 bytes, got 4815"),
    "too_long": (IMAGES, GOOD_IMAGES + b"x", "too long"),
    "wrong_magic": (IMAGES, b"\x89PNG" + GOOD_IMAGES[4:], "magic number is 0x89504e47"),
    "wrong_type": (IMAGES, b"\x00\x00\x0d\x03" + GOOD_IMAGES[4:], "magic number is 0x00000d03"),
    "labels_as_images": (IMAGES, GOOD_LABELS, "not an IDX file of 3-dimensional bytes"),
    "images_as_labels": (LABELS, GOOD_IMAGES, "not an IDX file of 1-dimensional bytes"),
    "zero_extent": (IMAGES, idx_bytes(random_bytes(40, 0, 10)), "every dimension must be at least 1"),
    "huge_extents": (IMAGES, bytes((0, 0, 8, 3)) + b"\xff" * 12, "truncated"),
    "label_count": (LABELS, idx_bytes(random_bytes(39, below=10)), "one label for each of the 40 images, got 39"),
    "label_range": (LABELS, idx_bytes(np.full(40, 10, np.uint8)), "labels must be 0 to 9, got 10"),
    "gzip_cut": (IMAGES, gzip.compress(GOOD_IMAGES)[:-20], "truncated, the compressed stream ends early"),
    "gzip_damaged": (IMAGES, gzip.compress(GOOD_IMAGES)[:-8] + b"12345678", "damaged gzip file"),
    "gzip_method": (IMAGES, b"\x1f\x8b" + b"\x00" * 30, "damaged gzip file"),
}


@pytest.mark.parametrize("case", BAD_IDX_FILES)
def test_bad_idx_file_is_refused(data: ModuleType, tmp_path: Path, case: str) -> None:
    name, content, message = BAD_IDX_FILES[case]
    write_mnist(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(data.DataError, match=re.escape(message)) as caught:
        data.load_directory(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_train_and_test_images_of_different_size_are_refused(data: ModuleType, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(random_bytes(20, 10, 12)))
    with pytest.raises(data.DataError, match="must have one size"):
        data.load_directory(tmp_path)


def test_images_too_small_for_the_network_are_refused(data: ModuleType, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for prefix, count in (("train", 40), ("t10k", 20)):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(random_bytes(count, 2, 9)))
    with pytest.raises(data.DataError, match="at least 3 pixels"):
        data.load_directory(tmp_path)


@pytest.mark.parametrize("missing", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_missing_idx_file_is_named(data: ModuleType, tmp_path: Path, missing: str) -> None:
    write_mnist(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(data.DataError, match=f"{missing}: missing"):
        data.load_directory(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "positive multiple of 3073 bytes, got 0"),
        (b"\0" * 3072, "positive multiple of 3073 bytes, got 3072"),
        (b"\x0a" * 3073, "labels must be 0 to 9, got 10"),
    ],
    ids=["empty", "truncated", "label"],
)
def test_bad_cifar_file_is_refused(data: ModuleType, tmp_path: Path, content: bytes, message: str) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(data.DataError, match=rf"data_batch_3\.bin: .*{message}"):
        data.load_directory(tmp_path)


@pytest.mark.parametrize("missing", ["data_batch_4.bin", "test_batch.bin"])
def test_missing_cifar_file_is_named(data: ModuleType, tmp_path: Path, missing: str) -> None:
    write_cifar(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(data.DataError, match=f"{missing}: missing"):
        data.load_directory(tmp_path)


def test_a_directory_in_place_of_a_file_is_refused(data: ModuleType, tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_1.bin").unlink()
    (tmp_path / "data_batch_1.bin").mkdir()
    with pytest.raises(data.DataError, match="cannot be read"):
        data.load_directory(tmp_path)


# the command ---------------------------------------------------------------------------------------------------------


def run_train(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run examples/train.py as a user does, from another directory."""
    command = [sys.executable, str(TRAIN), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


ONE_LINE = r"train\.py: [^\n]*{}[^\n]*\n"


def test_truncated_file_ends_the_command_with_one_line(tmp_path: Path) -> None:
    write_mnist(tmp_path, compressed=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    result = run_train("--data", tmp_path, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(ONE_LINE.format(re.escape(f"{path}: truncated")), result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "."], "holds neither MNIST files"),
        (["--data", "nowhere"], "not a directory"),
        (["--output", "nowhere/train.png"], "cannot be written"),
        (["--output", "train.txt"], "not a picture format"),
    ],
    ids=["empty_directory", "no_directory", "output_unwritable", "output_no_picture"],
)
def test_bad_paths_end_the_command_before_training(
    examples: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert examples("train").main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(ONE_LINE.format(message), printed.err)
    assert list(tmp_path.iterdir()) == []


def test_command_trains_and_reports(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    result = run_train(
        "--data", tmp_path, "--epochs", 1, "--seeds", 2, "--threads", 1, "--output", "picture.png", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"seed 0: \d+\.\d+%\n  seed 1: \d+\.\d+%\n  mean of 2 seeds: \d+\.\d+%\n", result.stdout)
    for operation in ("conv 1", "conv 2 backward", "max pool backward", "average pool backward"):
        assert re.search(rf"^  {operation} +[\dx]+( +\d+\.\d+){{2}} +\d+\.\dx$", result.stdout, re.MULTILINE)
    assert "2/2" in result.stderr  # the progress bar: 40 images are two batches
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_training_lowers_the_loss_and_repeats_exactly(examples: Callable[[str], ModuleType]) -> None:
    train, data = examples("train"), examples("data")
    digits = data.load_embedded_digits(seed=0)
    small = digits._replace(train_images=digits.train_images[:320], train_labels=digits.train_labels[:320])
    with convpool.num_threads(1):  # faster for images this small
        _, history = train.train(small, epochs=3, batch_size=32, learning_rate=3e-3, seed=0)
        _, again = train.train(small, epochs=3, batch_size=32, learning_rate=3e-3, seed=0)
    assert len(history.loss) == 30
    assert np.mean(history.loss[-5:]) < 0.5 * np.mean(history.loss[:5])
    assert history.test_accuracy[-1] > 0.5  # of ten classes
    assert again.loss == history.loss


def test_gradients_are_those_of_the_loss(examples: Callable[[str], ModuleType]) -> None:
    network = examples("network")
    rng = np.random.default_rng(0)
    drawn = network.initial_parameters((3, 9, 7), 10, rng)
    parameters = {name: value.astype(np.float64) for name, value in drawn.items()}
    for name in ("conv1.bias", "conv2.bias"):
        parameters[name] += 0.1
    images, labels = rng.standard_normal((4, 3, 9, 7)), np.array([0, 3, 9, 3])
    _, _, gradients = network.loss_and_gradients(parameters, images, labels)
    for name, gradient in gradients.items():
        direction, step = rng.standard_normal(gradient.shape), 1e-6
        ahead, behind = ({**parameters, name: parameters[name] + side * step * direction} for side in (1, -1))
        difference = network.loss_and_gradients(ahead, images, labels)[0]
        difference -= network.loss_and_gradients(behind, images, labels)[0]
        assert difference / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-5, abs=1e-7), name


def test_diverging_training_says_so(
    examples: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    train = examples("train")
    assert train.main(["--learning-rate", "1e30", "--epochs", "1", "--output", str(tmp_path / "train.png")]) == 2
    assert "a smaller --learning-rate" in capsys.readouterr().err
