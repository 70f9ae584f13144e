"""Every recipe by the name of the model that it trains, in the order of the registry.

Each other file of this package but `recipe` has `recipes()`, and is found without being named anywhere.
"""

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from training.recipes.recipe import Recipe
from zoo.errors import InputError, near
from zoo.registry import ENTRIES

_FILES = [import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__) if file.name != "recipe"]
_ORDER = {name: place for place, name in enumerate(ENTRIES)}
_RECIPES = [recipe for file in _FILES for recipe in file.recipes()]
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in sorted(_RECIPES, key=lambda one: _ORDER[one.name])}


def find(name: str, networks: Sequence[str] = ()) -> Recipe:
    """The recipe of this name. Raises InputError with the nearest names, of these networks as well."""
    if name in RECIPES:
        return RECIPES[name]
    like = near(name, [*RECIPES, *networks])
    hint = f"did you mean {', '.join(like)}?" if like else "--list shows all recipes"
    raise InputError(f"no recipe{' or network' if networks else ''} is called {name[:80]!r}: {hint}")
