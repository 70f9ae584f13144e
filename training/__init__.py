"""Training of the zoo's networks: `train` is what `python -m training` does, for other code to call."""

from __future__ import annotations

import os
import sys
from os import PathLike
from pathlib import Path

from zoo.errors import require

__all__ = ["train"]


def train(
    model: str,
    output: str | PathLike[str],
    *,
    data: str | PathLike[str] | None = None,
    test: str | PathLike[str] | None = None,
    name: str | None = None,
    license: str | None = None,
    size: int | None = None,
    init: str | None = None,
    epsilon: str | float | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    accumulate: int = 1,
    resume: bool = False,
    tracker: str | None = None,
) -> bool:
    """Train into the folder `output`, from which `export.publish.publish` makes a published folder.

    Returns true when it is done, false if SIGTERM or Ctrl-C stopped it; the same call with `resume=True` goes on.
    model: a recipe, such as `liresnet-l4w32-cifar10-jpeg75`; or, with `data`, the name of a network, such as
        `liresnet-l4w32`.
    data, test: training and test pictures: a folder with a subfolder for each class, parquet files, an .npz file, or
        `hf:org/name`. Every tenth training picture is kept for validation; without `test` nothing else is measured.
    name, license: of your data set, by default the name of the folder, and "unknown".
    size: the side in pixels that pictures are brought to.
    init: a published model to start from, as `zoo.load` takes it. If the classes are others, the head is a new one; if
        they are the same, the schedules begin half-way.
    epsilon: the radius to train for, as "36/255" or 1.58, in the network's norm. Only for the name of a network: the
        settings of a recipe belong to its own.
    epochs: instead of the recipe's; the schedules stretch.
    limit, steps, seed, accumulate, resume, tracker: see `training.loop.train`.
    Raises ZooError, whose message is one line.
    """
    require("train")
    from training.plan import plan

    own = {"data": data, "test": test, "name": name, "license": license, "size": size, "init": init, "epsilon": epsilon}
    planned = plan(model, **own, epochs=epochs, limit=limit)
    if planned.summary and os.environ.get("RANK", "0") == "0":
        print(planned.summary, file=sys.stderr)
    from training import loop  # slow to import, and mistakes above need none of it

    return loop.train(
        planned.recipe,
        Path(output),
        seed,
        limit,
        steps,
        resume,
        images=planned.images,
        accumulate=accumulate,
        tracker=tracker,
        own=planned.own,
        start=planned.start,
    )
