"""python -m export.parameters: write zoo/parameters.json, the parameters of all models, and zoo/recipes.json."""

from __future__ import annotations

import json

from export.publish import CHECKOUT
from training.recipes import RECIPES
from zoo.architectures import layer_shapes
from zoo.files import write_whole
from zoo.registry import ENTRIES

if __name__ == "__main__":
    counts = {
        name: sum(layer.parameters for layer in layer_shapes(entry.architecture)) for name, entry in ENTRIES.items()
    }
    for name, content in (("parameters", counts), ("recipes", [name for name in ENTRIES if name in RECIPES])):
        write_whole(CHECKOUT / "zoo" / f"{name}.json", json.dumps(content, indent=1) + "\n")
