"""Train a small CNN on real digits; the model and the loop are plain NumPy on `convpool` functions.

    python examples/train.py                        scikit-learn's embedded 8x8 digits
    python examples/train.py --data DIR             MNIST / Fashion-MNIST IDX files or CIFAR-10 binary batches
    python examples/train.py --seeds 5              five independent runs: split, weights and order all change

Writes a picture (``train.png``) and prints the held-out accuracy and the time of each operation.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import convpool
import numpy as np
import numpy.typing as npt
from data import DataError, Dataset, load_directory, load_embedded_digits
from network import Adam, Network, loss_and_gradients
from report import History, OutputError, check_output, draw_report, operation_table
from threadpoolctl import threadpool_limits
from tqdm import tqdm

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

DIGITS_EPOCHS, DIRECTORY_EPOCHS = 40, 3
DIGITS_LEARNING_RATE, DIRECTORY_LEARNING_RATE = 3e-3, 1e-3
SHIFT_REACH = 0.3  # pixels
WARM_UP = 0.05  # share of all steps


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, or 2 after one line on stderr."""
    options = parse_arguments(arguments)
    try:
        # Small matrix products: idle threads of NumPy's BLAS would spin on the processors that convolutions need.
        with convpool.num_threads(options.threads), threadpool_limits(1, user_api="blas"):
            run(options)
    except (DataError, OutputError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        return 130
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="directory with IDX or CIFAR-10 files")
    epochs, rate = (DIGITS_EPOCHS, DIRECTORY_EPOCHS), (DIGITS_LEARNING_RATE, DIRECTORY_LEARNING_RATE)
    parser.add_argument("--epochs", type=positive_integer, help="default {}; with --data {}".format(*epochs))
    parser.add_argument("--learning-rate", type=positive_number, help="default {}; with --data {}".format(*rate))
    parser.add_argument("--batch-size", type=positive_integer, default=32, help="default 32")
    parser.add_argument("--threads", type=positive_integer, help="default 1 for the 8x8 digits; with --data all cores")
    parser.add_argument("--seed", type=seed_number, default=0, help="the first seed, default 0")
    parser.add_argument("--seeds", type=positive_integer, default=1, help="number of independent runs, default 1")
    parser.add_argument("--output", type=Path, default=Path("train.png"), help="picture to write, default train.png")
    options = parser.parse_args(arguments)
    from_files = options.data is not None
    options.epochs = options.epochs or epochs[from_files]
    options.learning_rate = options.learning_rate or rate[from_files]
    options.threads = options.threads or (convpool.get_num_threads() if from_files else 1)
    return options


def run(options: argparse.Namespace) -> None:
    """Train once for each seed, then print the accuracies and the table and draw the picture of the first run."""
    check_output(options.output)
    files = load_directory(options.data) if options.data else None
    runs = []
    for seed in range(options.seed, options.seed + options.seeds):
        dataset = files or load_embedded_digits(seed)
        runs.append((dataset, *train(dataset, options.epochs, options.batch_size, options.learning_rate, seed)))
    dataset, network, history = runs[0]
    accuracies = [each.test_accuracy[-1] for _, _, each in runs]
    print(f"\n{dataset.name}: accuracy on {len(dataset.test_labels)} held-out images")
    for seed, accuracy in enumerate(accuracies, options.seed):
        print(f"  seed {seed}: {accuracy:.2%}")
    if len(accuracies) > 1:
        print(f"  mean of {len(accuracies)} seeds: {np.mean(accuracies):.2%}")
    print("\n" + operation_table(dataset.train_images.shape[1:], options.batch_size))
    draw_report(
        options.output, dataset, history, network.parameters["conv1.weight"], network.scores(dataset.test_images)
    )
    print(f"\npicture: {options.output}")


def train(dataset: Dataset, epochs: int, batch_size: int, learning_rate: float, seed: int) -> tuple[Network, History]:
    """Train a new network on `dataset` and return it with its learning curves.

    Raises
    ------
    FloatingPointError
        The loss stopped being finite.
    """
    rng = np.random.default_rng(seed)
    network = Network(dataset.train_images, rng)
    optimiser = Adam(network.parameters)
    history = History()
    steps = epochs * -(-len(dataset.train_images) // batch_size)
    with tqdm(total=steps, desc=f"seed {seed}", unit="step") as progress, np.errstate(over="ignore", invalid="ignore"):
        for _ in range(epochs):
            correct = 0
            for images, labels in shuffled_batches(dataset, batch_size, rng):
                standardised = network.standardised(shifted(images, rng))
                loss, scores, gradients = loss_and_gradients(network.parameters, standardised, labels)
                if not np.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss}; a smaller --learning-rate may help")
                optimiser.update(gradients, scheduled(learning_rate, optimiser.step / steps))
                history.loss.append(loss)
                correct += np.count_nonzero(scores.argmax(axis=1) == labels)
                progress.update()
            history.train_accuracy.append(correct / len(dataset.train_labels))
            history.test_accuracy.append(accuracy_of(network.scores(dataset.test_images), dataset.test_labels))
            progress.set_postfix(loss=f"{loss:.4f}", held_out=f"{history.test_accuracy[-1]:.2%}")
    return network, history


def shuffled_batches(dataset: Dataset, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Bytes, Labels]]:
    """Yield images and labels of one pass over the training images, in random order."""
    order = rng.permutation(len(dataset.train_images))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield dataset.train_images[chosen], dataset.train_labels[chosen]


def scheduled(learning_rate: float, done: float) -> float:
    """Return the learning rate after the share `done` of all steps: a linear start, then half a cosine down to 0."""
    return learning_rate * min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))


def accuracy_of(scores: Floats, labels: Labels) -> float:
    """Return the share of rows of `scores` whose largest entry is at the label."""
    return float((scores.argmax(axis=1) == labels).mean())


def shifted(images: Bytes, rng: np.random.Generator) -> Floats:
    """Return `images` moved by up to `SHIFT_REACH` pixels in both directions, each by its own random amount."""
    moved: Floats = images.astype(np.float32)
    for axis in (2, 3):
        amount = rng.uniform(-SHIFT_REACH, SHIFT_REACH, (len(images), 1, 1, 1)).astype(np.float32)
        moved = _interpolated(moved, amount, axis)
    return moved


def _interpolated(images: Floats, amount: Floats, axis: int) -> Floats:
    """Return `images` read `amount` (below one pixel) further along `axis`: linear interpolation, 0 outside."""
    border = [(1, 1) if dimension == axis else (0, 0) for dimension in range(4)]
    before, _, after = np.lib.stride_tricks.sliding_window_view(np.pad(images, border), 3, axis).transpose(
        4, 0, 1, 2, 3
    )
    return images * (1 - np.abs(amount)) + np.where(amount > 0, after, before) * np.abs(amount)


def positive_integer(text: str) -> int:
    """Return the integer of a command-line argument that must be at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def seed_number(text: str) -> int:
    """Return the integer of a command-line argument that must be a seed."""
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 2**31, got {value}")
    return value


def positive_number(text: str) -> float:
    """Return the number of a command-line argument that must be above 0 and finite."""
    value = float(text)
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
