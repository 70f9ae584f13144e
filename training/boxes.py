"""Constants of single images in l-infinity, by intervals or by linear bounds: what IBP and CROWN-IBP train with.

Source: Gowal et al. 2018 (IBP), arXiv 1810.12715; Zhang, Chen, Xiao, Gowal, Stanforth, Li, Boning, Hsieh 2020
(CROWN-IBP), arXiv 1906.06316. The intervals are those of the proof, `zoo.bounds.interval`, without their rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.estimate import RowSums
from zoo.bounds.interval import least_margins
from zoo.bounds.rule import intervals_of
from zoo.bounds.table import TABLE
from zoo.errors import UncertifiableLayerError
from zoo.layers import Pixels


class Boxes(RowSums):
    """Constants of each image: how far each of its margins can fall within epsilon of it, divided by epsilon.

    The box of an image is all that is within epsilon of it. Intervals bound the margins there, as the graph will.
    crown: None for intervals alone. Else an epsilon: in training at a smaller one the linear bounds count too, with the
        share 1 - epsilon / crown. It is the last one of a run, which so ends with what the graph will prove.
    Raises UncertifiableLayerError for a layer without intervals, as one with a constraint is.
    """

    def __init__(self, network: nn.Sequential, crown: float | None = None):
        super().__init__(network)
        self.crown = crown
        for name, layer in list(network.named_children())[:-1]:
            if (row := TABLE.get(type(layer))) is None or row.intervals is None:
                raise UncertifiableLayerError(f"{name}: no intervals of a {type(layer).__name__} while it is trained")

    def of_images(self, images: Tensor, labels: Tensor, logits: Tensor, epsilon: float) -> Tensor:
        """The constants K_ti of images of the labels t: (f_t - f_i less its least value in the box) / epsilon.

        Shapes: images [N, ...], logits [N, C], to [N, 1, C], which `image_constants` reads. With a gradient.
        """
        least = least_margins(self.network, images, labels, torch.tensor([epsilon], device=images.device))[0]
        if self.crown is not None and self.network.training and epsilon < self.crown:
            least = torch.lerp(crown_margins(self.network, images, labels, epsilon), least, epsilon / self.crown)
        margins = logits.gather(1, labels[:, None]) - logits
        return ((margins - least) / epsilon)[:, None]


def crown_margins(network: nn.Sequential, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """What each margin f_t - f_i, t the label, is at least in the box, up to rounding: [N, C], with a gradient.

    It is the least value there of a linear function of the image that lies below the margin.
    A ReLU whose input is in [l, u], l < 0 < u, is at most u (z - l) / (u - l), and at least z where u > -l, else 0.
    Raises UncertifiableLayerError for another layer than Pixels, Linear, Conv2d, ReLU or Flatten.
    """
    first, *body, head = network
    if type(first) is not Pixels or not isinstance(head, nn.Linear):
        raise UncertifiableLayerError("linear bounds are of networks from Pixels to a Linear")
    lower, upper = intervals_of(first, images - epsilon, images + epsilon, TABLE)
    pixels, ends = (lower, upper), []
    for layer in body:
        ends.append((layer, lower, upper))
        lower, upper = intervals_of(layer, lower, upper, TABLE)
    rows = head.weight[labels][:, None] - head.weight  # [N, C, features]
    constant = head.bias[labels][:, None] - head.bias
    for layer, lower, upper in reversed(ends):
        rows, constant = _before(layer, rows, constant, lower, upper)
    lower, upper = (end[:, None] for end in pixels)
    return constant + (rows.clamp(min=0) * lower + rows.clamp(max=0) * upper).flatten(2).sum(dim=2)


def _before(layer: nn.Module, rows: Tensor, constant: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The linear functions of the layer's input that are below those of its output, given the input's interval."""
    match layer:
        case nn.Flatten():
            return rows.unflatten(2, lower.shape[1:]), constant
        case nn.Linear():
            return rows @ layer.weight, constant + (0 if layer.bias is None else rows @ layer.bias)
        case nn.Conv2d(groups=1, dilation=(1, 1), padding_mode="zeros"):
            if layer.bias is not None:
                constant = constant + rows.sum(dim=(3, 4)) @ layer.bias
            more = [
                size - (count - 1) * stride + 2 * int(padding) - kernel
                for size, count, stride, padding, kernel in zip(
                    lower.shape[2:], rows.shape[3:], layer.stride, layer.padding, layer.kernel_size, strict=True
                )
            ]  # rows and columns at the end that no window reaches
            padding = tuple(map(int, layer.padding))
            back = F.conv_transpose2d(rows.flatten(0, 1), layer.weight, None, layer.stride, padding, tuple(more))
            return back.unflatten(0, rows.shape[:2]), constant
        case nn.ReLU():
            high, low = upper.clamp(min=0), lower.clamp(max=0)
            above = (high / (high - low).clamp(min=torch.finfo(high.dtype).tiny))[:, None]
            below = (upper > -lower).to(rows)[:, None]
            rising, falling = rows.clamp(min=0), rows.clamp(max=0)
            lost = (falling * above * low[:, None]).flatten(2).sum(dim=2)
            return rising * below + falling * above, constant - lost
    raise UncertifiableLayerError(f"no linear bounds of a {type(layer).__name__}")
