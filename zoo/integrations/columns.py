"""Certified answers as new columns of a table, for the engines that scale one function over any number of machines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.hub.client import load
from zoo.inference.runtime import Model


class CertifyColumn:
    """A function from a batch of rows with images to columns with the model's answers.

    The same object goes to each engine. It travels to workers by the model's name, and a process loads a model once.

        certify = CertifyColumn("2c2f-mnist", epsilon="0.3", keep=["id"])
        dataset.map(certify, batched=True)  # Hugging Face datasets, which keeps all other columns itself
        dataset.map_batches(certify)  # Ray Data
        frame.mapInPandas(lambda frames: map(certify, frames), schema)  # Spark

    A batch is a mapping of columns, or a pandas frame. The column `image` holds what `zoo.Model.predict` takes, or
    dictionaries with the file's `bytes`, as Hugging Face's and Spark's parquet files have them. The answer is of the
    batch's own kind, with one row for each row, in order: `label` int64, the class; `name` its name; `radius` float64,
    proved, in the model's norm; with an epsilon `certified` bool, whether radius > epsilon; and the columns of `keep`.

    source: what `zoo.load` takes.
    Raises InputError where the batch has no such column, and where an image cannot be used: it says which row. Other
    errors are those of `zoo.load`.

    >>> answers = CertifyColumn("2c2f-mnist", epsilon="0.3")({"image": np.zeros((2, 28, 28), np.uint8)})
    >>> sorted(answers), answers["radius"].shape
    (['certified', 'label', 'name', 'radius'], (2,))
    """

    def __init__(
        self, source: str, image: str = "image", epsilon: str | float | None = None, keep: Sequence[str] = ()
    ) -> None:
        self.source, self.image, self.keep = source, image, tuple(keep)
        self.epsilon = None if epsilon is None else parse_epsilon(epsilon)
        if lost := {"label", "name", "radius", "certified"}.intersection(self.keep):
            raise InputError(f"the answer has a column {min(lost)} of its own: rename the one to keep")

    def __call__(self, batch: Any) -> Any:
        for name in (self.image, *self.keep):
            if name not in batch:
                raise InputError(f"the batch has no column {name!r}, only {', '.join(map(str, batch))[:200]}")
        answers: dict[str, Any] = {name: batch[name] for name in self.keep} | self._answers(batch[self.image])
        if hasattr(batch, "assign"):
            return batch[list(self.keep)].assign(**answers)
        return answers

    def _answers(self, column: Any) -> dict[str, np.ndarray]:
        model = _load(self.source)
        images = [image.get("bytes") if isinstance(image, dict) else image for image in column]
        outputs = model.outputs(images)
        answers = {
            "label": outputs.label,
            "name": np.array([model.labels[index] for index in outputs.label.tolist()], dtype=object),
            "radius": outputs.radius.astype(np.float64),
        }
        return answers if self.epsilon is None else {**answers, "certified": outputs.radius > self.epsilon}


@lru_cache(maxsize=8)
def _load(source: str) -> Model:
    """Once in each process."""
    return load(source)
