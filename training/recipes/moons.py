"""CLL's illustration: two moons, of which a network with a small enough constant certifies every point.

Losch, Stutz, Schiele, Fritz 2023 (CLL). Where the recipe differs: the loss is EMMA, the optimiser NAdam with Lookahead
and a cosine.
"""

from collections.abc import Iterable

from training.losses import emma
from training.recipes.recipe import Published, Recipe
from training.schedules import Cosine, epsilon_ramp

EPSILON = 0.15 / 4


def recipes() -> Iterable[Recipe]:
    yield mlp_two_moons()


def mlp_two_moons() -> Recipe:
    """The network of their figures, for half of the true margin: 0.15 in the plane, whose square has the side 4.

    Measured on the validation points: 100 % clean and estimated VRA.
    Command: python -m training mlp-two-moons --output runs/mlp-two-moons
    """
    return Recipe(
        name="mlp-two-moons",
        epsilon=EPSILON,
        loss=emma,
        epochs=60,
        batch_size=100,
        learning_rate=1e-2,
        training_epsilon=epsilon_ramp(EPSILON, 1.0),
        rate=Cosine(warmup=0.05),
        validate_every=20,
        published=Published(
            *(None, 100.0, "Losch et al. 2023, figure 4"),
            at="0.15 in the plane",
            of="CLL on the training points",
        ),
        time="34 seconds on one core",
    )
