"""What a run is to do: from the names and places that a person gives to a recipe and its data."""

from __future__ import annotations

import dataclasses
import math
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from training.own import OwnData, network_of, networks, own_data, own_recipe, recipes_of
from training.recipes import RECIPES, find
from training.recipes.recipe import Recipe
from training.start import Start, find_start
from zoo.architectures import NETWORKS
from zoo.data.datasets import known_labels
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.registry import Entry

StrPath = str | PathLike[str]


class Plan(NamedTuple):
    """A recipe and its data: a data set of the zoo, the same one in a folder, or one of somebody's own."""

    recipe: Recipe
    images: Path | None  # the folder with the recipe's data set
    own: OwnData | None
    start: Start | None
    summary: str  # a line about somebody's own data; empty without


def plan(
    model: str,
    *,
    data: StrPath | None = None,
    test: StrPath | None = None,
    name: str | None = None,
    license: str | None = None,
    size: int | None = None,
    init: str | None = None,
    epsilon: str | float | None = None,
    epochs: int | None = None,
    limit: int | None = None,
) -> Plan:
    """What `training.train` does with these arguments. Raises InputError."""
    check_name(model, data)
    start = None if init is None else find_start(init)
    alone = model in NETWORKS and model not in RECIPES
    if data is None or not (alone or name is not None):
        if alone:
            raise InputError(f"{model} is a network: {_recipes(model)}--data FOLDER trains it on pictures of yours")
        given = {"test": test, "name": name, "license": license, "size": size, "epsilon": epsilon}
        if unused := [option for option, value in given.items() if value is not None]:
            own = f"is for data of your own: give --name as well, or {network_of(find(model).name)} for {model}"
            what = "needs --data" if data is None else own
            raise InputError(f"--{unused[0]} {what}")
        recipe = find(model)
        return Plan(_shortened(recipe, epochs), None if data is None else Path(data), None, start, "")
    recipe = None if alone else find(model)
    network = network_of(model)
    radius = None if epsilon is None else parse_epsilon(epsilon)
    if recipe is not None and epsilon is not None:
        raise InputError(
            f"--epsilon cannot change a recipe, whose settings belong to its radius: give {network} instead of {model}"
        )
    if radius == 0:
        raise InputError("--epsilon must be above 0")
    if network not in networks():
        raise InputError(f"{network} takes no pictures: choose {', '.join(networks()[:3])} or another")
    shape = start.folder.config.input_shape if start else None
    own, pictures = own_data(model, fspath(data), None if test is None else fspath(test), name, license, size, shape)
    if radius is not None:
        _check_radius(radius, own.entry)
    count = min(len(pictures.numbers), limit or len(pictures.numbers))
    if recipe is None:
        recipe = own_recipe(own.entry, count, epochs, radius)
    recipe = dataclasses.replace(recipe, name=own.entry.name, paper=None, generated=None, time="")
    return Plan(_shortened(recipe, epochs), None, own, start, _summary(own, count))


def _check_radius(radius: float, entry: Entry) -> None:
    """Raise InputError if perturbations of this radius leave nothing of most pictures."""
    if radius >= (0.5 if entry.norm == "linf" else math.sqrt(math.prod(entry.architecture.input_shape)) / 4):
        raise InputError(
            f"a perturbation of {entry.norm} norm {radius:g} can turn most pictures grey: --epsilon is in pixels from "
            "0 to 1, give 36/255 and not 36"
        )


def check_name(model: str, data: StrPath | None) -> None:
    """Raise InputError unless a recipe or a network has this name; with data, what was meant may be a network."""
    if model not in NETWORKS:
        find(model, () if data is None else networks())


def _shortened(recipe: Recipe, epochs: int | None) -> Recipe:
    return recipe if epochs is None else dataclasses.replace(recipe, epochs=epochs)


def _recipes(network: str) -> str:
    known = recipes_of(network)
    return f"{known[0]} is a recipe for it, " if known else ""


def _summary(own: OwnData, count: int) -> str:
    channels, height, width = own.input_shape
    return (
        f"{own.name}: {count:,} pictures of {len(own.labels)} classes ({known_labels(own.labels)}), cropped to a "
        f"square and resized to {width} x {height}{', grey' if channels == 1 else ''}: the certificate speaks of that "
        "size"
    )
