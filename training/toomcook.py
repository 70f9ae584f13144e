"""Convolutions of 3 x 3 with a quarter of the multiplications, for training and attacks on CPUs.

Each 4 x 4 outputs come from 36 products of a transformed 6 x 6 input and the transformed kernel, where the definition
has 144: the algorithm of `zoo.lowering.toomcook` on both axes, forwards and for both gradients. Results differ from the
definition's by rounding, by less than 1e-5 of the largest one, which training does not notice. Estimates, validation,
certificates and published networks do not use it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from zoo.lowering.toomcook import algorithm

# Channels, in and out, from which on it is the faster way on one thread. On two it is from 96 on, and at 64 neither is:
# benchmarks/training.json.
WIDE = 64
CHUNK = 8  # images that go through all steps while they are in a core's cache
BACK, KERNEL, DATA = (torch.from_numpy(np.kron(part, part)).float() for part in algorithm(4, 3))
ONE = 7  # the product for the point 1 on both axes: every output has it once, so that it takes the bias


class FastConvolutions(TorchFunctionMode):
    """While it is entered, wide convolutions of 3 x 3 with stride 1 and padding 1, float32 on a CPU, are fast ones."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d and not kwargs and fits(*args):
            return convolve(*args[:3])
        return func(*args, **(kwargs or {}))


def fits(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Whether `convolve` gives what F.conv2d would give for these arguments, sooner; not where PyTorch refuses them."""
    return (
        bias is not None
        and len(bias) == len(weight)
        and images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and images.dim() == weight.dim() == 4
        and images.shape[1] == weight.shape[1]
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= WIDE
        and images.shape[2] % 4 == images.shape[3] % 4 == 0
        and (_pair(stride), _pair(padding), _pair(dilation), groups) == ((1, 1), (1, 1), (1, 1), 1)
    )


def _pair(option: Any) -> tuple[Any, ...]:
    return tuple(option) if isinstance(option, Iterable) else (option, option)


def convolve(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of images [N, C, H, W] with weight [K, C, 3, 3] and bias [K], padded by one pixel of zeros.

    H and W are multiples of 4. The result, [N, K, H, W], lies in memory channels last.
    """
    outputs, inputs = weight.shape[:2]
    kernels = KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    return _Products.apply(images, kernels.view(36, inputs, outputs), bias)  # pyright: ignore[reportReturnType]


class _Products(torch.autograd.Function):
    """From images and transformed kernels [36, C, K] to the convolution, and back."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        result = images.new_empty(count, height, width, kernels.shape[2])
        transformed = []
        for chunk, out in zip(images.permute(0, 2, 3, 1).split(CHUNK), result.split(CHUNK), strict=True):
            padded = F.pad(chunk, (0, 0, 1, 1, 1, 1))
            image, row, column, channel = padded.stride()
            tiles = padded.as_strided(
                (6, 6, len(chunk), height // 4, width // 4, channels),
                (row, column, image, 4 * row, 4 * column, channel),
            )
            tiles = (DATA @ tiles.reshape(36, -1)).view(36, -1, channels)
            if ctx.needs_input_grad[1]:
                transformed.append(tiles)
            products = torch.bmm(tiles, kernels)
            products[ONE] += bias
            _tiles(out).copy_((BACK @ products.view(36, -1)).view_as(_tiles(out)))
        ctx.save_for_backward(kernels, *transformed)
        ctx.shape = images.shape
        return result.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        kernels, *transformed = ctx.saved_tensors
        count, channels, height, width = ctx.shape
        wanted, outputs = ctx.needs_input_grad, kernels.shape[2]
        of_images = gradient.new_empty(count, height, width, channels) if wanted[0] else None
        of_kernels = torch.zeros_like(kernels) if wanted[1] else None
        of_bias = gradient.sum((0, 2, 3)) if wanted[2] else None
        for number, chunk in enumerate(gradient.permute(0, 2, 3, 1).split(CHUNK)):
            of_products = (BACK.T @ _tiles(chunk).reshape(16, -1)).view(36, -1, outputs)
            if of_kernels is not None:
                of_kernels.baddbmm_(transformed[number].transpose(1, 2), of_products)
            if of_images is not None:
                of_tiles = DATA.T @ torch.bmm(of_products, kernels.transpose(1, 2)).view(36, -1)
                tiles = of_tiles.view(6, 6, len(chunk), height // 4, width // 4, channels)
                _join(tiles.permute(2, 3, 0, 4, 1, 5), of_images.split(CHUNK)[number])
        return None if of_images is None else of_images.permute(0, 3, 1, 2), of_kernels, of_bias


def _join(tiles: Tensor, maps: Tensor) -> None:
    """Write the sums of the tiles [N, H / 4, 6, W / 4, 6, C] into the maps [N, H, W, C], without the padding.

    Each tile begins 4 pixels after the one before, so that its last two rows and columns are the next one's too.
    """
    count, rows, _, columns, _, channels = tiles.shape
    padded = tiles.new_zeros(count, rows + 1, 4, columns + 1, 4, channels)
    padded[:, :-1, :, :-1] = tiles[:, :, :4, :, :4]
    padded[:, 1:, :2, :-1] += tiles[:, :, 4:, :, :4]
    padded[:, :-1, :, 1:, :2] += tiles[:, :, :4, :, 4:]
    padded[:, 1:, :2, 1:, :2] += tiles[:, :, 4:, :, 4:]
    whole = padded.view(count, 4 * rows + 4, 4 * columns + 4, channels)
    maps.copy_(whole[:, 1 : 4 * rows + 1, 1 : 4 * columns + 1])


def _tiles(maps: Tensor) -> Tensor:
    """Maps [N, H, W, K], seen as tiles of 4 x 4: [4, 4, N, H / 4, W / 4, K]."""
    return maps.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).permute(2, 4, 0, 1, 3, 5)
