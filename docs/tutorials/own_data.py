# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Your own pictures
#
# From a folder of pictures to a model that answers with a certificate. Run it in a checkout, with the extra `[export]`.
# The pictures are drawn here, so that the page needs no data; yours lie in folders of the same form, a subfolder for each
# class, named as the class is.

# %%
import random
from pathlib import Path

from PIL import Image, ImageDraw


def draw(folder: Path, count: int) -> None:
    """So many light grey pictures with a dark circle, and with a dark square."""
    for name in ("circle", "square"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.new("L", (34, 30), random.randint(180, 255))
            left, top, size = random.randint(2, 12), random.randint(2, 8), random.randint(14, 22)
            shape = ImageDraw.Draw(image).ellipse if name == "circle" else ImageDraw.Draw(image).rectangle
            shape((left, top, left + size, top + size), fill=random.randint(0, 90))
            image.save(folder / name / f"{number}.png")


random.seed(0)
draw(Path("shapes"), 20)
draw(Path("shapes-test"), 5)

# %% [markdown]
# ## Train
#
# A network of the zoo, named without a data set. Passes and batch follow from the number of pictures; five passes instead
# of the 1540 that 40 pictures get by default, so that this page is quick, teach it nothing yet.

# %%
import training

training.train("2c2f", "runs/shapes", data="shapes", test="shapes-test", license="cc0-1.0", epochs=5)

# %% [markdown]
# `epsilon="0.5"` would train for that radius instead of 36/255. `init="liresnet-l4w32-cifar10-jpeg75"` would start
# `liresnet-l4w32` from a published model, with a new head.
#
# ## Certify and measure
#
# `publish` proves the certificate, writes the graphs, and measures them on the test pictures. Without `test` the card says
# "not measured". `attack_images` says how many of them are attacked, which takes most of the time: none here.

# %%
from export.publish import publish

folder = publish(Path("runs/shapes"), attack_images=0)
print(folder.config.name, folder.config.labels, folder.evaluation.vra)

# %% [markdown]
# ## Use
#
# The folder is as good as any published one: `zoo verify`, `zoo serve local-dir:runs/shapes/published`, `zoo push`, and
# `python -m space.app local-dir:runs/shapes/published` shows it in the demo.

# %%
import zoo

model = zoo.load("local-dir:runs/shapes/published")
prediction = model.predict("shapes-test/circle/0.png")
print(prediction.name, prediction.radius)
