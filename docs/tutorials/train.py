# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train, export, publish
#
# From a recipe to a folder that a stranger can verify. The example is the two moons, which need no data set and seconds;
# every command is the same for an image model. Run it in a checkout, with the extra `[export]`.

# %%
import subprocess
import sys
from pathlib import Path


def run(*command: str) -> str:
    """What the command prints; an error where it fails."""
    return subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True).stdout


# %% [markdown]
# ## Train
#
# `python -m training --list` shows all recipes, `--describe` one of them whole: loss, optimiser, schedules, and the
# published row that it stands for.

# %%
print(run("training", "mlp-two-moons", "--describe")[:400])

# %% [markdown]
# Three epochs instead of 60, so that this page is quick. For an image model set `ZOO_DATA` to the folder that holds your
# data sets; without it they come from the Hugging Face hub. `--resume` goes on with a run that was stopped.

# %%
run("training", "mlp-two-moons", "--epochs", "3", "--output", "runs/moons")
sorted(path.name for path in Path("runs/moons").iterdir())

# %% [markdown]
# The weights are those of the plain network: how they were parametrised while they were trained is no part of the proof.
#
# ## Export
#
# Certify, write both graphs, measure the shipped one on the test split, attack it, write the card. `--attack-images` says
# how many test images are attacked: most of the time of an export goes there.

# %%
print(run("export", "runs/moons", "--attack-images", "20"))

# %%
published = Path("runs/moons/published")
sorted(path.name for path in published.iterdir())

# %% [markdown]
# ## Verify, as a stranger would

# %%
print(run("zoo", "verify", str(published)))

# %%
import zoo

model = zoo.load(f"local-dir:{published}")
print(model.certificate.body_lipschitz, model.evaluation.vra)

# %% [markdown]
# ## Publish
#
# `zoo push FOLDER org/name` uploads the folder to the Hugging Face hub, or to a hub of your own (`zoo hub`): set
# `HF_ENDPOINT` to its address. Whoever loads `hf-hub:org/name@COMMIT` gets every byte checked, and can verify it as above.
