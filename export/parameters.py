"""Counts the parameters of every registered network and writes zoo/parameters.json: python -m export.parameters"""

from __future__ import annotations

import json

from export.publish import CHECKOUT
from zoo.architectures import layer_shapes
from zoo.registry import ENTRIES

if __name__ == "__main__":
    counts = {
        name: sum(layer.parameters for layer in layer_shapes(entry.architecture)) for name, entry in ENTRIES.items()
    }
    (CHECKOUT / "zoo" / "parameters.json").write_text(json.dumps(counts, indent=1) + "\n")
