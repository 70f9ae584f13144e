# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Predict and verify
#
# A certified prediction is a label and a radius: no perturbation of at most that size changes the label. Everything here
# runs offline; the model comes with the package.

# %%
from pathlib import Path

import numpy as np
from PIL import Image

import zoo
from zoo.data.samples import draw

# %% [markdown]
# Some pictures to look at: digits and small drawings, made by the package.

# %%
pictures = Path("pictures")
draw(pictures)
sorted(path.name for path in pictures.iterdir())

# %% [markdown]
# ## A prediction
#
# `2c2f-mnist` knows ten digits. It was made for perturbations of l2 size 0.3.

# %%
model = zoo.load("2c2f-mnist")
prediction = model.predict(pictures / "digit-3.png", epsilon="0.3")
print(prediction.label, prediction.radius, prediction.certified)

# %%
assert prediction.label == "3"
assert prediction.certified == (prediction.radius > 0.3)

# %% [markdown]
# `radius` is the distance to the *nearest* other class; `class_radii` has the distance to each. The predicted class is
# infinitely far from itself.

# %%
distances = dict(zip(model.labels, prediction.class_radii, strict=True))
assert prediction.radius == min(distances.values())
assert distances["3"] == float("inf")

# %% [markdown]
# ## What the radius means
#
# Add noise of exactly that size, in any direction: the label stays. (Noise is a weak opponent. `python -m export` attacks
# each model with gradients before it is published, and `tests/soundness` tries harder.)

# %%
picture = Image.open(pictures / "digit-3.png").convert("L")
image = np.asarray(picture, dtype=np.float32)[None] / 255
rng = np.random.default_rng(0)
for _ in range(100):
    noise = rng.standard_normal(image.shape)
    noise *= 0.999 * prediction.radius / np.linalg.norm(noise)
    moved = np.clip(image + noise, 0, 1).astype(np.float32)
    assert model.predict(moved).index == prediction.index

# %% [markdown]
# An answer whose radius is not above the epsilon that was asked abstains: its label is None. Ask for more than there is:

# %%
assert model.predict(pictures / "digit-3.png", epsilon=10).label is None

# %% [markdown]
# A certificate says that the label cannot change, not that it is right.
#
# ## What proves it
#
# The folder's `certificate.json` holds the bound of every layer and the numbers that prove it.

# %%
certificate = model.certificate
for layer in certificate.layers:
    print(f"{layer.name:18} {layer.kind:8} {layer.lipschitz_bound:10.6f}  {layer.method}")

# %% [markdown]
# `verify` proves all of it again from the weights alone (this needs the extra `[export]`). On the command line: `zoo verify 2c2f-mnist`.

# %%
from zoo.hub.client import fetch
from zoo.publication.verify import verify

assert verify(fetch("2c2f-mnist")) == []
