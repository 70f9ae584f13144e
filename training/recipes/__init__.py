"""Every recipe by the name of the model that it trains."""

import difflib
from collections.abc import Callable

from training.recipes import gloro, liresnet, moons, orthogonal
from training.recipes.recipe import Recipe
from zoo.errors import InputError

RECIPES: dict[str, Callable[[], Recipe]] = {
    make().name: make
    for make in (
        liresnet.liresnet_l6w128_cifar10,
        liresnet.liresnet_l6w64_cifar10_jpeg75,
        liresnet.liresnet_l4w32_cifar10_jpeg75,
        liresnet.resnet_l4w32_cifar10_jpeg75,
        liresnet.olsa_ffn_l4w32_cifar10_jpeg75,
        orthogonal.sll_xs_cifar10_jpeg75,
        orthogonal.lipconvnet_5w8_cifar10_jpeg75,
        gloro.mnist_2c2f,
        gloro.mnist_4c3f,
        moons.mlp_two_moons,
    )
}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises InputError with the nearest names."""
    if name in RECIPES:
        return RECIPES[name]()
    near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "--list shows all"
    raise InputError(f"no recipe is called {name[:80]!r}: {hint}")
