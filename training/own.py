"""A network of the zoo on a data set that somebody brings: what it is called, its size, and how it is trained."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.augment import Crop, Flip
from training.pictures import Pictures, open_pictures
from training.recipes import RECIPES, distance, liresnet
from training.recipes.recipe import Recipe
from training.schedules import epsilon_ramp
from zoo.architectures import NETWORKS
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.liresnet import STEMS
from zoo.data.datasets import DATASETS, HUB_DATA, DatasetInfo, own_dataset
from zoo.errors import CertificateError, InputError
from zoo.publication.folder import NAME
from zoo.records import FORMAT, loads
from zoo.registry import ENTRIES, Entry, own_entry

RECORD = "data.json"  # in the folder of a run
SIZES = tuple(STEMS)  # sides that are tried, in pixels
USUAL = 64  # the largest side that is chosen without --size
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")  # as the Hugging Face hub names them
UNKNOWN = "unknown"  # its word for a licence that nobody gave
PASSES, MORE = 40, 60_000  # a run has 40 passes over all pictures and 60,000 pictures more: more passes over few


@dataclass(frozen=True)
class OwnData:
    """What a run remembers of a data set that somebody brought. Its paths are this machine's and never published."""

    name: str
    model: str  # a network, or a recipe for another data set
    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    data: str
    test: str | None
    license: str
    format: int = FORMAT

    @property
    def info(self) -> DatasetInfo:
        return own_dataset(self.name, self.labels, self.input_shape)

    @property
    def entry(self) -> Entry:
        training = ENTRIES[self.model].training if self.model in ENTRIES else ""
        return own_entry(network_of(self.model), self.info, training)

    def settings(self) -> dict[str, Any]:
        """What a run's recipe.json and the card say about the data set."""
        return {
            "model": self.model,
            "dataset": self.name,
            "data": _shown(self.data),
            "test": None if self.test is None else _shown(self.test),
            "license": self.license,
            "size": self.input_shape[1],
        }


def own_data(
    model: str,
    data: str,
    test: str | None = None,
    name: str | None = None,
    license: str | None = None,
    size: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
) -> tuple[OwnData, Pictures]:
    """The data set as a network takes it, and its training pictures, which are grey if all of them are.

    model: the name of a network in `zoo.architectures.NETWORKS`, or of a recipe. data, test: as `open_pictures` takes
    them. name: by default that of the folder or file. size: the side in pixels, by default the largest up to 64 that
    the network takes and half of the pictures fill. input_shape: that of a network to start from, which decides size
    and channels. Raises InputError.
    """
    if license is not None and not LICENSE.fullmatch(license):
        raise InputError(f"{license[:60]!r} is no licence as the Hugging Face hub names them, such as cc-by-4.0")
    network = network_of(model)
    name = _slug(data) if name is None else name
    if not NAME.fullmatch(f"{network}-{name}") or name in DATASETS:
        known = f": {name} is a data set that the zoo knows" if name in DATASETS else ""
        raise InputError(f"give your data set another --name than {name[:60]!r}, of letters, digits, - and .{known}")
    pictures = open_pictures(data, "train")
    if test is not None:  # a mistake here should not wait for the export
        _check_apart(pictures, open_pictures(test, "test", pictures.labels))
    if input_shape is None:
        side, channels = pictures.sizes()
        input_shape = _shape(network, channels, len(pictures.labels), side, size)
    elif size not in (None, input_shape[1]):
        raise InputError(f"the network to start from has {input_shape[1]} pixels: leave out --size")
    own = OwnData(name, model, pictures.labels, input_shape, _place(data), test and _place(test), license or UNKNOWN)
    _ = own.entry  # refuses what the network does not take
    return own, pictures


def _check_apart(training: Pictures, test: Pictures) -> None:
    """Raise InputError if more than one in a hundred test pictures is a training picture, byte for byte."""
    seen, digests = set(training.digests()), test.digests()
    if (known := sum(digest in seen for digest in digests)) > len(digests) / 100:
        raise InputError(
            f"{known:,} of the {len(digests):,} test pictures are training pictures too, and a model is not measured "
            "on what it has seen: take them out of --test or of --data"
        )


def own_recipe(entry: Entry, images: int, epochs: int | None = None, epsilon: float | None = None) -> Recipe:
    """The recipe for a network on a data set of somebody's own with this many pictures, validation included.

    EMMA, as for the small networks of the zoo; that of the small distance nets for those. epsilon: the radius to train
    for, by default 36/255 in l2, and in l-infinity 8/255 for distance nets, 2/255 for others. Colour pictures are
    flipped; grey ones, which may be letters, are not. The batch is 32 below a thousand pictures, 64 below ten thousand,
    then 128; the run is 40 passes and 60,000 pictures more.
    """
    match entry.architecture:
        case DistanceNet():
            recipe = distance.small(entry.name, entry.architecture.channels, epsilon or 8 / 255)
            if isinstance(entry.architecture, DistanceMLP):
                recipe = distance.with_mlp(recipe)
        case _:
            epsilon = epsilon or (2 / 255 if entry.norm == "linf" else 36 / 255)
            recipe = dataclasses.replace(
                liresnet.small(entry.name, None), epsilon=epsilon, training_epsilon=epsilon_ramp(epsilon, 1.5)
            )
    epochs = epochs or PASSES + MORE // images
    _, side, _ = entry.architecture.input_shape
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        validate_every=max(1, epochs // 20),
        batch_size=32 if images < 1000 else 64 if images < 10_000 else 128,
        augment=(Crop(side // 8), *([Flip()] if entry.architecture.input_shape[0] == 3 else [])),
        time="",
    )


def read_own(run: Path) -> OwnData | None:
    """The data set of somebody's own that a run was given, or None. Raises InputError if its record is damaged."""
    try:
        return loads(OwnData, (run / RECORD).read_bytes(), str(run / RECORD))
    except FileNotFoundError:
        return None
    except CertificateError as error:
        raise InputError(str(error)) from error


def network_of(model: str) -> str:
    """The network of a registered model; any other name is a network's own."""
    return ENTRIES[model].network if model in ENTRIES else model


def networks() -> list[str]:
    """The names of the networks that take pictures."""
    made_for = {entry.network for entry in ENTRIES.values() if DATASETS[entry.dataset].made}
    return [name for name in NETWORKS if name not in made_for]


def recipes_of(network: str) -> list[str]:
    """The recipes of a network on data sets of the zoo."""
    return [name for name in RECIPES if ENTRIES[name].network == network]


def _shape(network: str, channels: int, classes: int, side: int, size: int | None) -> tuple[int, int, int]:
    """The input shape for pictures whose short side is mostly `side`."""

    def takes(size: int) -> bool:
        try:
            own_entry(network, own_dataset("x", [str(label) for label in range(classes)], (channels, size, size)))
        except InputError:
            return False
        return True

    taken = [each for each in SIZES if takes(each)]
    if size is not None and not takes(size):
        sizes = " or ".join(map(str, taken))
        raise InputError(f"{network} does not take {size} x {size} pixels: give --size {sizes}")
    fits = [each for each in taken if each <= min(side, USUAL)]
    chosen = size or max(fits, default=min(taken, default=SIZES[0]))
    return channels, chosen, chosen


def _slug(source: str) -> str:
    """A data set's name from where it lies: flowers for data/Flowers/train, hf:org/flowers or flowers.npz."""
    path = Path(source.removeprefix(HUB_DATA))
    path = path if source.startswith(HUB_DATA) else path.resolve()
    if path.name == "train" and path.parent.name:
        path = path.parent
    return re.sub(r"[^a-z0-9._-]+", "-", path.name.removesuffix(".npz").removesuffix(".parquet").lower()).strip("-.")


def _place(source: str) -> str:
    return source if source.startswith(HUB_DATA) else str(Path(source).resolve())


def _shown(source: str) -> str:
    return source if source.startswith(HUB_DATA) else Path(source).name
