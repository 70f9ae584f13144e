# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Add a loss and a recipe
#
# A loss is one function, and a recipe is one dataclass that names it. No certificate depends on either: what is proved is
# the network that comes out. Run this in a checkout, with the extra `[export]`.
#
# ## 1. The loss: a file of `training/losses/`
#
# Every loss takes the same four arguments: the logits [N, C] and labels [N] of a batch, the margin constants [C, C], and a
# radius. K_ij says how fast the difference of logits i and j can change, so an attack at epsilon can take epsilon K_ti from
# the margin y_t - y_i over class i. This loss asks that 1 is left of it:

# %%
import torch
from torch import Tensor


def robust_hinge(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """max(0, 1 + epsilon K_ti - (y_t - y_i)) for the class i other than t where it is largest."""
    margins = logits.gather(1, labels[:, None]) - logits
    short = 1 + epsilon * margin_lipschitz[labels] - margins
    others = torch.nn.functional.one_hot(labels, logits.shape[1]) == 0
    return short[others].reshape(len(logits), -1).amax(dim=1).clamp_min(0).mean()


# %% [markdown]
# The constants are an estimate from the network's weights and carry gradients: a loss that grows with K teaches the network
# a small K. `tests/training/test_losses_gradients.py` asks this of every loss: correct gradients, finite numbers at the
# edges, and no gain from a larger K. Here is its check of the gradient, by finite differences.

# %%
torch.manual_seed(0)
logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
constants = torch.tensor([[0.0, 4.0, 1.5], [4.0, 0.0, 2.0], [1.5, 2.0, 0.0]], dtype=torch.float64)
labels = torch.tensor([0, 1, 2, 0, 1, 2])
torch.autograd.gradcheck(lambda logits: robust_hinge(logits, labels, constants, 0.1), logits)

# %% [markdown]
# ## 2. The recipe: a file of `training/recipes/`
#
# A recipe is the whole run as data. This one is that of the published `mlp-two-moons` with another loss.

# %%
from dataclasses import replace
from pathlib import Path

from training.loop import train
from training.recipes import find

published = find("mlp-two-moons")
mine = replace(published, loss=robust_hinge, loss_options={}, epochs=10, paper=None)
theirs = replace(published, epochs=10)

# %% [markdown]
# ## 3. The same budget for both
#
# `train` writes the folder that `python -m training` writes, and `publish` proves, measures and checks what came out.

# %%
from export.publish import publish

for name, recipe in {"mine": mine, "theirs": theirs}.items():
    train(recipe, Path("runs", name))
    folder = publish(Path("runs", name), attack_images=0)
    print(name, folder.evaluation.clean_accuracy, folder.evaluation.vra)

# %% [markdown]
# One run of ten epochs says little: `benchmarks/losses.py` compares losses with several seeds and at full length, on
# validation images, because the test split is for the result alone.
#
# ## 4. Into the repository
#
# * the function in a file of `training/losses/`, exported by its `__init__.py`, with its source in the docstring;
# * its paper in `LOSSES` of `zoo/citations.py`, which cards cite, and the loss in `LOSSES` of
#   `tests/training/test_losses_gradients.py`;
# * the recipe as a function that `recipes()` of a file in `training/recipes/` yields, under the name of a model: a line in
#   the table of its family, `PRESETS` in `zoo/architectures/`. `python -m export.parameters` then writes the lists of models
#   and recipes anew.
