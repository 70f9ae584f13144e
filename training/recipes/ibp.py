"""ReLU networks in l-infinity by IBP and by CROWN-IBP, small ones for CPUs.

Gowal et al. 2018, arXiv 1810.12715; Zhang et al. 2020, arXiv 1906.06316. The published rows are of other networks, so
none stands beside ours, and the settings are our own but for what makes the methods: after a tenth of the run the
radius grows until half of it, while the weight of the clean loss falls from 1 to 1/2 and, in CROWN-IBP, the share of
the linear bounds from 1 to 0. Command: python -m training NAME --output runs/NAME.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import Crop
from training.losses import mixed_margin
from training.recipes.recipe import Recipe
from training.schedules import Cosine, Points


def recipes() -> Iterable[Recipe]:
    yield ibp("2c2f-relu-linf-ibp-mnist")
    yield replace(ibp("2c2f-relu-linf-crownibp-mnist"), estimate="crown")


def ibp(name: str) -> Recipe:
    """At 0.1, 40 epochs of Adam.

    Measured on the test split (their cards): IBP 98.35 clean, 93.44 VRA; CROWN-IBP after 4 epochs 95.66 and 81.10.
    """
    epsilon = 0.1
    return Recipe(
        name=name,
        epsilon=epsilon,
        loss=mixed_margin,
        loss_options={"natural": Points(((0.1, 1.0), (0.5, 0.5)))},
        training_epsilon=Points(((0.1, 0.01 * epsilon), (0.5, epsilon))),
        epochs=40,
        batch_size=128,
        learning_rate=1e-3,
        rate=Cosine(warmup=0.05),
        optimizer="adam",
        estimate="intervals",
        augment=(Crop(1),),
    )
