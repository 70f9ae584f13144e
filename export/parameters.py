"""python -m export.parameters: write zoo/parameters.json, the parameters of all models, and zoo/recipes.json."""

from __future__ import annotations

import json

from tqdm import tqdm

from export.publish import CHECKOUT
from training.recipes import RECIPES
from zoo.architectures import layer_shapes
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.registry import ENTRIES


def main() -> None:
    """Count the parameters of every registered model, which takes minutes, and list those that have a recipe."""
    counts = {
        name: sum(layer.parameters for layer in layer_shapes(entry.architecture))
        for name, entry in tqdm(ENTRIES.items(), desc="count", unit="model")
    }
    for name, content in (("parameters", counts), ("recipes", [name for name in ENTRIES if name in RECIPES])):
        write_whole(CHECKOUT / "zoo" / f"{name}.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m export.parameters")
