"""What the papers say of a network's size; tests/test_architectures.py counts each at its full size."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import NamedTuple

import pytest

import zoo
from training.recipes import RECIPES
from zoo.registry import ENTRIES

LIRESNET = "Hu et al. 2023 (LiResNet), arXiv 2301.12549, table 1"


class Stated(NamedTuple):
    """A number of parameters, in millions, as a paper prints it."""

    pattern: str
    millions: float
    source: str
    off: float = 0.5  # how far ours may be from it: half of the paper's last digit, or what the disagreement says
    disagreement: str = ""


STATED = (
    Stated("6c2f-cifar10", 2, LIRESNET),
    Stated("6c2f-cifar100", 2, LIRESNET),
    Stated("6c2f-relu-cifar10", 2, LIRESNET),
    Stated("6c2f-relu-cifar100", 2, LIRESNET),
    Stated("4c3f-cifar10", 3, LIRESNET, 0.6, "2.47 M with kernels of 4 at stride 2, as BCOP and Cayley have them"),
    Stated("4c3f-cifar100", 3, LIRESNET),
    Stated("4c3f-cll-cifar10", 3, LIRESNET, 0.6, "2.43 M: CLL's kernels of 3, a net of the same name"),
    Stated("8c2f-tiny-imagenet", 2, LIRESNET, 2.4, "4.34 M by the layers of every source; 2.36 M of it are one layer"),
    Stated("lipconvnet-20-cifar10", 27, LIRESNET, 0.9, "26.18 M by SOC's code"),
    Stated("lipconvnet-20-cifar100", 27, LIRESNET, 0.8, "26.27 M by SOC's code"),
    Stated("cpl-xl-cifar10", 236, LIRESNET),
    Stated("sll-xl-cifar10", 236, LIRESNET),
    Stated("cpl-xl-cifar10", 1100, "Losch et al. 2023 (CLL)", 864, "CLL counts 1.1 billion, LiResNet 236 M for one XL"),
    Stated("sll-xl-cifar10", 1100, "Losch et al. 2023 (CLL)", 864, "CLL counts 1.1 billion, LiResNet 236 M for one XL"),
    Stated("liresnet-l6w128-cifar10", 5, LIRESNET, 1.5, "3.52 M with the code's dense layer, 9.8 M with the text's"),
    Stated("liresnet-l6w128-cifar100", 5, LIRESNET, 1.5, "3.57 M with the code's dense layer"),
    Stated("liresnet-l12w512-cifar10", 49, LIRESNET, 3.9, "45.14 M with the code's dense layer, 70.4 M by the text"),
    Stated("liresnet-l12w512-cifar100", 49, LIRESNET, 3.9, "45.19 M with the code's dense layer"),
    Stated("liresnet-l12w588-imagenet", 86, LIRESNET, 3.4, "89.34 M with the code's dense layer, 129.9 M by the text"),
    Stated("liresnetpp-l12w512-cifar10", 83, "BRONet's and LipNeXt's tables"),
    Stated("linfdist-6x5120-cifar10", 120.6, "code of zbh2047/L_inf-dist-net-v2, which cuts 120.66", 0.1),
)


def test_the_registry_knows_what_can_be_trained():
    """recipes.json is what the advice about a model without weights goes by."""
    assert {name for name, entry in ENTRIES.items() if entry.has_recipe} == set(RECIPES) & set(ENTRIES)


def test_the_table_has_no_other_names_and_the_order_of_the_list():
    table = json.loads((Path(zoo.__file__).parent / "parameters.json").read_text())
    assert list(table) == list(ENTRIES)


@pytest.mark.parametrize("stated", STATED, ids=lambda stated: f"{stated.pattern} {stated.millions}")
def test_a_paper_s_number_is_met_or_the_disagreement_is_named(stated: Stated):
    names = fnmatch.filter(ENTRIES, stated.pattern)
    if not names:
        pytest.skip(f"{stated.pattern} is not registered")
    for name in names:
        assert abs(ENTRIES[name].parameters / 1e6 - stated.millions) <= stated.off
    assert bool(stated.disagreement) == (stated.off > 0.5)


def test_methods_do_not_change_sizes():
    """CPL and SLL are one network trained in two ways, and an activation without weights costs none."""
    for name, entry in ENTRIES.items():
        if name.startswith("cpl-") and (twin := "sll-" + name.removeprefix("cpl-")) in ENTRIES:
            assert entry.parameters == ENTRIES[twin].parameters
        if "-relu-" in name and (twin := name.replace("-relu", "")) in ENTRIES:
            assert entry.parameters == ENTRIES[twin].parameters
