"""Image data sets in the Hugging Face parquet layout: local files under ZOO_DATA, else the hub by name.

Loads no torch. Images leave as uint8 arrays [N, H, W, C] and labels as int64 [N].
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """What the zoo must know of a data set before it reads one image of it."""

    name: str
    title: str
    size: int  # the side of its square images, in pixels
    channels: int
    classes: int
    test_split: str  # the prefix of the held-out files
    hub: str | None  # the data set on the Hugging Face hub; None where it is local only
    epsilons: tuple[str, ...]  # the radii at which papers report, l2 in pixels of [0, 1]


NATURAL = ("36/255", "72/255", "108/255", "1.0")

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("mnist", "MNIST", 28, 1, 10, "test", "ylecun/mnist", ("0.3", "1.58")),
        DatasetInfo("cifar10", "CIFAR-10", 32, 3, 10, "test", "uoft-cs/cifar10", NATURAL),
        DatasetInfo("cifar10-jpeg75", "CIFAR-10 re-encoded as JPEG 75", 32, 3, 10, "test", None, NATURAL),
        DatasetInfo("cifar100", "CIFAR-100", 32, 3, 100, "test", "uoft-cs/cifar100", NATURAL),
        DatasetInfo("tiny-imagenet", "Tiny-ImageNet", 64, 3, 200, "valid", "zh-plus/tiny-imagenet", NATURAL),
        DatasetInfo("imagenet", "ImageNet-1k", 224, 3, 1000, "validation", "ILSVRC/imagenet-1k", NATURAL),
    )
}
