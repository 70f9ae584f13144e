# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Add a layer
#
# A new layer stands in three places, each under its exact type:
#
# 1. its class, in a file of `zoo/layers/`, which `zoo/layers/__init__.py` exports;
# 2. its row in the table of `zoo/bounds/table.py`. The row names the rule that proves the layer's bound, a function in a file
#    of `zoo/bounds/`, and its lowering, the layer as ONNX nodes, a function in `zoo/lowering/layers.py`;
# 3. its row in the table of `training/layers.py`: its constraint, if it has one, and its estimate.
#
# Here is a channel permutation, from its class to a published folder that verifies. Each heading names the file where the
# code below it goes in the repository; on this page the rows are entered by hand.
#
# ## 1. The class: `zoo/layers/fixed.py`
#
# A published network is made again from its list of layers, without memory for numbers, and then gets its weights. So
# everything in a layer that is no weight is plain Python: here a list, not a tensor.

# %%
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn


class ChannelPermutation(nn.Module):
    """The channels in another order: channel `order[c]` of the input is channel c of the output.

    Shapes: [N, C, ...] to [N, C, ...].
    """

    def __init__(self, order: Sequence[int]):
        super().__init__()
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"expected each of 0 to {len(order) - 1} once, got {list(order)}")
        self.order = list(order)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.order]


# %% [markdown]
# ## 2. What the proof and the graph know of it
#
# The rule, for `zoo/bounds/fixed.py`. It answers a `Bound`. What that says must hold for the layer *as it is stored*; what it does not prove, it refuses.
# A permutation only moves numbers: its constant is 1 in either norm, and it does not round, so `fan_in` stays 0.

# %%
from zoo.bounds.form import Argument, Form
from zoo.bounds.linear import apply_fixed
from zoo.bounds.linf import monotone
from zoo.bounds.rule import Bound, Context, Row
from zoo.bounds.table import TABLE
from zoo.lowering import intervals
from zoo.lowering.nodes import Nodes
from zoo.lowering.values import Value


def channel_permutation(layer: ChannelPermutation, context: Context) -> Bound:
    """A permutation of the numbers: an isometry, and exact."""
    if context.input_shape[0] != len(layer.order):
        raise context.refuse(f"it permutes {len(layer.order)} channels, its input has {context.input_shape[0]}")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


# %% [markdown]
# The lowering, for `zoo/lowering/layers.py`:


# %%
def lower_channel_permutation(nodes: Nodes, layer: ChannelPermutation, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    return replace(x, name=nodes.add("Gather", x.name, nodes.constant(np.array(layer.order)), axis=x.axis))


# %% [markdown]
# The rest of this part is for `zoo/bounds/table.py`. The form says with which arguments the layer is made again; `is_valid`
# is asked about whatever stands in a file.

# %%
ORDER = Argument(
    "a list of whole numbers",
    is_valid=lambda value: isinstance(value, list) and all(type(entry) is int for entry in value),
    state=list,
)

# %% [markdown]
# The row has no default, so nothing can be forgotten: a row that has a rule in l-infinity without its intervals is refused
# when the table is built.

# %%
TABLE[ChannelPermutation] = Row(  # type: ignore[index]
    l2=channel_permutation,
    linf=channel_permutation,
    intervals=monotone,  # the ends of an interval go to the ends
    linear=apply_fixed,  # LipLT may multiply it with other linear layers
    slopes=None,  # no activation
    checked="single",  # how `zoo verify` checks the published bound: one number, here 1
    lowering=lower_channel_permutation,
    ends=intervals.monotone,
    form=Form(ChannelPermutation, order=ORDER),  # how `zoo.publish` writes it
)

# %% [markdown]
# ## 3. What training knows of it: `training/layers.py`

# %%
from training.layers import TABLE as TRAINING
from training.layers import Row as TrainingRow

TRAINING[ChannelPermutation] = TrainingRow(constrain=None, estimate=lambda layer, shape: 1.0, linf=lambda layer: 1.0)

# %% [markdown]
# ## It certifies, and it runs

# %%
import zoo
from zoo.layers import MinMax, Pixels

torch.manual_seed(0)
network = (
    nn.Sequential(
        Pixels([0.5, 0.5], [1.0, 1.0]),
        nn.Conv2d(2, 4, 3, padding=1),
        ChannelPermutation([2, 0, 3, 1]),
        MinMax(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    .requires_grad_(False)
    .eval()
)
certificate = zoo.certify(network, (2, 4, 4))
model = zoo.CertifiedModel.of(network, certificate)
images = torch.rand(4, 2, 4, 4)
print(model(images).radius)

# %% [markdown]
# Published, it answers by ONNX Runtime, and its certificate is proved again from the files:

# %%
import tempfile

from zoo.publication.verify import verify

with tempfile.TemporaryDirectory() as scratch:
    folder = zoo.publish(network, f"{scratch}/permuted", (2, 4, 4), ["one", "two", "three"], name="permuted")
    graph = zoo.load(f"local-dir:{folder.path}").outputs(images.numpy())
    assert verify(folder) == []
assert (graph.label == model(images).label.numpy()).all()
assert np.allclose(graph.radius, model(images).radius.numpy(), atol=1e-12)

# %% [markdown]
# ## A test that would catch a wrong rule
#
# An *oracle* is worth more than examples: the dense Jacobian's largest singular value may never be above the bound. With
# no tolerance on the unsafe side, for exact layers.

# %%
layer = ChannelPermutation([2, 0, 3, 1])
jacobian = torch.func.jacrev(layer)(torch.rand(1, 4, 2, 2, dtype=torch.float64)).reshape(16, 16)
bound = channel_permutation(layer, Context("permutation", (4, 2, 2)))
assert torch.linalg.matrix_norm(jacobian, 2) <= bound.lipschitz_bound

# %% [markdown]
# In the repository: a case in `tests/soundness/test_rules.py`, a body in `tests/test_lowering.py`, a mutant in
# `tests/soundness/mutants/`; `tests/soundness/test_table.py` names what is missing. A weight with
# rounding needs three constants more, `fan_in`, `absolute_norm` and `offset_norm`: see the [theory](../theory.md), and
# `zoo/bounds/fixed.py`, `patch_pool`, for a short example.
