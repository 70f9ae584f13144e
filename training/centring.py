"""Convolutions that are centred while they are trained: the linear residual of LiResNet++, and BRONet's.

Source: Hu, Leino, Wang, Fredrikson 2024 (LiResNet++), arXiv 2310.02513, the authors' code.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.processes import mean_over_processes
from zoo.layers import FrequencyConv

MOMENTUM = 0.1  # of the running mean


class Centred(nn.Module):
    """The bias less the running mean of what it is added to: what the plain layer adds. Shapes: [C] to [C]."""

    mean: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))

    def forward(self, bias: Tensor) -> Tensor:
        return bias - self.mean

    def right_inverse(self, bias: Tensor) -> Tensor:
        return bias + self.mean


class CentredConv2d(nn.Conv2d):
    """y = x + g(x) + b, and in training y = x + g(x) - m + b, m [C] the mean of g(x) over images and cells.

    In evaluation m is a running mean, which folds into the bias (`Centred`): a shift changes no Lipschitz constant.
    """

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "CentredConv2d":
        """The same convolution, with the same weights, centred."""
        centred = cls(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)  # type: ignore[arg-type]
        centred.load_state_dict(layer.state_dict())
        parametrize.register_parametrization(centred, "bias", Centred(layer.out_channels))
        return centred

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        output = self._conv_forward(input, self.weight, None)
        return _centred(self, output, _means(output) - _means(input))


class CentredFrequencyConv(FrequencyConv):
    """y = g(x) + b, and in training y = g(x) - m + b, m [C] the mean of g(x) over images and cells.

    In evaluation m is a running mean, which folds into the bias (`Centred`), as in `CentredConv2d`.
    Source: Lai, Huang, Kung, Chen 2025 (BRONet), arXiv 2505.15174, the authors' code.
    """

    @classmethod
    def of(cls, layer: FrequencyConv) -> "CentredFrequencyConv":
        """A layer of the same sizes, centred, with weights of its own."""
        outputs, inputs = layer.weight.shape[3:]
        centred = cls(inputs, outputs, layer.size, layer.padding)
        parametrize.register_parametrization(centred, "bias", Centred(outputs))
        return centred

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        if not self.training:
            return output
        output = output - self.bias[:, None, None]
        return _centred(self, output, _means(output))


def _means(maps: Tensor) -> Tensor:
    return maps.float().mean(dim=(0, 2, 3))


def _centred(layer: nn.Module, output: Tensor, mean: Tensor) -> Tensor:
    """The output, which lacks the bias, less the mean and with the learned bias; the running mean moves.

    mean: over this process's images.
    """
    mean = mean_over_processes(mean, len(output))
    bias = layer.parametrizations["bias"]  # type: ignore[index]
    assert isinstance(bias, parametrize.ParametrizationList)
    centred, learned = bias[0], bias.original
    assert isinstance(centred, Centred)
    assert isinstance(learned, Tensor)
    with torch.no_grad():
        centred.mean.lerp_(mean, MOMENTUM)
    return output + (learned - mean).to(output.dtype)[:, None, None]
