"""Counts the parameters of every registered network and writes zoo/parameters.json: python -m export.parameters"""

from __future__ import annotations

import json

import torch

from export.publish import CHECKOUT
from zoo.architectures import Architecture
from zoo.registry import ENTRIES


def count(architecture: Architecture) -> int:
    """The numbers that training changes, of the network at its full size; nothing is allocated."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in architecture.network().parameters())


if __name__ == "__main__":
    counts = {name: count(entry.architecture) for name, entry in ENTRIES.items()}
    (CHECKOUT / "zoo" / "parameters.json").write_text(json.dumps(counts, indent=1) + "\n")
