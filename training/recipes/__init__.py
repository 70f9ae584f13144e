"""Every recipe by the name of the model that it trains."""

import difflib

from training.recipes import cll, crm, distance, gloro, liresnet, moons, orthogonal
from training.recipes.recipe import Recipe
from zoo.errors import InputError

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for family in (liresnet, gloro, cll, crm, orthogonal, distance, moons)
    for recipe in family.recipes()
}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises InputError with the nearest names."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "--list shows all"
    raise InputError(f"no recipe is called {name[:80]!r}: {hint}")
