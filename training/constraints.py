"""Weight parametrisations: how a plain layer's weight is written while it is trained.

No part of the proof: `folded_state` reads the weights they evaluate to, and the certificate speaks of those.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo.architectures import Architecture, LiResNet
from zoo.architectures.liresnet import Backbone
from zoo.layers import Residual


class LinearResidual(nn.Module):
    """The kernel I + diag(beta) W / sqrt(depth) of the linear block y = x + beta * Conv_W(x) / sqrt(depth).

    `beta` [O] is learned, from 1. Shapes: [O, O, k, k] to [O, O, k, k], k odd.
    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, section 3 and appendix B. Where we differ: the layer's
    bias stands outside the residual's factor beta / sqrt(depth), which changes its step size, not the function class.
    """

    identity: Tensor

    def __init__(self, channels: int, kernel: int, depth: int):
        super().__init__()
        self.depth = depth
        self.beta = nn.Parameter(torch.ones(channels))
        identity = nn.init.dirac_(torch.empty(channels, channels, kernel, kernel))
        self.register_buffer("identity", identity, persistent=False)

    def forward(self, residual: Tensor) -> Tensor:
        return self.identity + self.beta[:, None, None, None] * residual / math.sqrt(self.depth)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return (weight - self.identity) * math.sqrt(self.depth) / self.beta[:, None, None, None]


class NormalisedRows(nn.Module):
    """Rows of l2 norm 1: last-layer normalisation. Shapes: [C, F] to [C, F].

    Source: Singla, Singla, Feizi 2022, "Improved deterministic l2 robustness", arXiv 2108.04062.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return weight / weight.norm(dim=1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def constrain(network: nn.Sequential, architecture: Architecture) -> nn.Sequential:
    """The same network, initialised for training, its weights written as the architecture's paper writes them.

    LiResNet: blocks become linear residuals of residual weight N(0, 1) / (9 width), bias 0. ResNet: the second
    convolution of a block starts at 0, so that the block starts as the identity; its factor beta stays folded. Both,
    and PlainConvNet: the head's rows are normalised. Every other weight starts orthogonal, so that no layer's norm
    starts far from 1.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    for name, layer in network.named_children():
        if isinstance(layer, Residual):
            last = layer.branch[-1]
            assert isinstance(last, nn.Conv2d)
            nn.init.zeros_(last.weight)
        elif name.startswith("block") and isinstance(layer, nn.Conv2d) and type(architecture) is LiResNet:
            _make_linear_residual(layer, architecture.depth)
        elif name == "head" and isinstance(architecture, Backbone):
            parametrize.register_parametrization(layer, "weight", NormalisedRows())
    return network


def _make_linear_residual(layer: nn.Conv2d, depth: int) -> None:
    kernel = layer.kernel_size[0]
    residual = LinearResidual(layer.out_channels, kernel, depth)
    start = torch.randn_like(layer.weight) / (kernel**2 * layer.out_channels)
    with torch.no_grad():
        layer.weight.copy_(residual(start))
    parametrize.register_parametrization(layer, "weight", residual)


def folded_state(network: nn.Sequential) -> dict[str, Tensor]:
    """The weights that the parametrisations evaluate to, float32, under the names of the plain network's state."""
    state = {}
    for name, layer in network.named_modules():
        if "parametrizations" in name.split("."):
            continue
        keys = [key for key, _ in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]]
        if parametrize.is_parametrized(layer):
            keys += layer.parametrizations  # type: ignore[arg-type]
        for key in keys:
            state[f"{name}.{key}"] = getattr(layer, key).detach().float().cpu().contiguous()
    return state
