# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Certify a network of your own
#
# Any `nn.Sequential` of layers that have a rule can be certified: it begins with `Pixels`, which sets the domain and
# normalises, and ends in a `Linear`. Between them: `Conv2d`, `Linear`, `ReLU`, `MinMax`, `Flatten`, residual blocks and
# the others of `zoo/bounds/table.py`. A layer without a rule is refused by name and never counted as 1.

# %%
import torch
from torch import nn

import zoo
from zoo.layers import MinMax, Pixels

SHAPE = (1, 8, 8)  # channels, height, width
torch.manual_seed(0)
network = nn.Sequential(
    Pixels(mean=[0.5], scale=[2.0]),
    nn.Conv2d(1, 8, 3, padding=1),
    MinMax(),
    nn.Conv2d(8, 8, 4, stride=4),
    MinMax(),
    nn.Flatten(),
    nn.Linear(32, 2),
)

# %% [markdown]
# Train it however you like. Here: is the left or the right half of the picture brighter? The loss is GloRo, from
# `training.losses`: cross-entropy with one more logit, that of the best attacker within epsilon. It needs an *estimate* of
# K while training; the proof comes afterwards and trusts none of it.

# %%
from training.estimate import LipschitzEstimate, margin_lipschitz
from training.losses import gloro

images = torch.rand(512, 1, 8, 8)
labels = (images[..., :4].mean((1, 2, 3)) < images[..., 4:].mean((1, 2, 3))).long()

estimate = LipschitzEstimate(network, SHAPE, seed=0, iterations=5)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for _step in range(150):
    constants = margin_lipschitz(estimate(), network[-1].weight)
    loss = gloro(network(images), labels, constants, epsilon=0.05)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")

# %% [markdown]
# The other losses of `training.losses` begin with the same four arguments; some have settings of their own:

# %%
from training.losses import cll, crm, emma

logits, constants = network(images), margin_lipschitz(estimate(), network[-1].weight)
print(f"EMMA {emma(logits, labels, constants, 0.05):.3f}")
print(f"CLL  {cll(logits, labels, constants, 0.05, p=0.1, weight=1e-3):.3f}")
print(f"CRM  {crm(logits, labels, constants, 0.05, sharpness=5.0, cap=0.2, weight=1.0):.3f}")

# %% [markdown]
# ## The certificate
#
# It speaks about exactly these weights. After more training a `CertifiedModel` of it refuses to answer: certify anew.

# %%
network.eval()
certificate = zoo.certify(network, SHAPE)
for layer in certificate.layers:
    print(f"{layer.name} {layer.kind:8} {layer.lipschitz_bound:.6f} by {layer.method}")

# %% [markdown]
# ## Answers, with gradients
#
# The certified model answers logits, label, radius, the distance to each class and the top-k radii, in float64.

# %%
model = zoo.CertifiedModel.of(network, certificate)
answers = model(images[:4])
print(answers.label, answers.radius)

# %% [markdown]
# The radius can be differentiated, for instance to look for pictures whose radius is small.

# %%
picture = images[:1].clone().requires_grad_(True)
model(picture).radius.sum().backward()
print(picture.grad.norm())

# %% [markdown]
# A `DataLoader` gives it batches, as any module: how many are right, and certified at 0.05?

# %%
from torch.utils.data import DataLoader, TensorDataset

certified = 0
for batch, classes in DataLoader(TensorDataset(images, labels), batch_size=64):
    answers = model(batch)
    certified += int(((answers.label == classes) & (answers.radius > 0.05)).sum())
print(f"{certified} of {len(images)} are right and certified at 0.05")

# %% [markdown]
# ## A folder that others can check
#
# The architecture in it is the list of the network's layers, so `zoo verify FOLDER` proves the certificate again with none
# of this page's code; `zoo predict`, `zoo serve` and `zoo push` take `local-dir:FOLDER`.

# %%
import tempfile
from pathlib import Path

from zoo.publication.verify import verify

with tempfile.TemporaryDirectory() as scratch:
    folder = zoo.publish(network, Path(scratch) / "sides", SHAPE, ["left", "right"], name="left-or-right")
    print(zoo.load(f"local-dir:{folder.path}").predict(images[0].numpy(), epsilon=0.05))
    assert verify(folder) == []

# %% [markdown]
# ## What is refused

# %%
unknown = nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 2))
try:
    zoo.certify(unknown, SHAPE)
except zoo.ZooError as error:
    print(error)
else:
    raise AssertionError("GELU has no rule")
