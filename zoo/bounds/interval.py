"""Interval propagation: least margins while the pixels stay in a box, for PyTorch and for the exported graph.

The rules of the layers, and how the constants of a certificate bound the rounding of both ends, are in
`zoo.bounds.linf`.
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.bounds.rule import intervals_of
from zoo.bounds.table import TABLE


def least_margins(network: nn.Sequential, images: Tensor, label: Tensor, levels: Tensor) -> Tensor:
    """At most f_j - f_i over all x with |x - image|_inf <= level, up to rounding: [L, N, C], j the label of each image.

    images [N, C, H, W] in [0, 1] and levels [L], in the dtype of the weights. The first layer, `Pixels`, cuts the box
    to [0, 1]. The head's interval is not taken, which would be wide: each margin is bounded by its row h_j - h_i.

    Rounding: with E and R the bounds of the features' error and norm, which hold for both ends, D = h_j - h_i and d
    features, the margin errs by at most

        |D|_1 E + gamma_{d+4} (|D|_1 R + |b_j| + |b_i|)

    Counted: D once, c or r once, d products in a sum, the difference of the two sums, the bias. That is at most T_ji,
    twice the error of a margin at a point in `zoo.bounds.margins`; so a margin above 2 T_ji is positive at every point
    of the box, as computed there too.
    """
    count = len(levels)
    reach = levels[:, None, None, None, None]
    lower, upper = (images - reach).flatten(0, 1), (images + reach).flatten(0, 1)
    *body, head = network
    for layer in body:
        lower, upper = intervals_of(layer, lower, upper, TABLE)
    assert isinstance(head, nn.Linear)
    matrix, bias = head.weight, head.bias
    chosen = label.repeat(count)
    rows = matrix.index_select(0, chosen)[:, None] - matrix  # [L N, C, d]
    centre, half = (lower + upper) / 2, (upper - lower) / 2
    margins = (rows @ centre[:, :, None] - rows.abs() @ half[:, :, None])[:, :, 0]
    margins = margins + (bias.index_select(0, chosen)[:, None] - bias)
    return margins.unflatten(0, (count, -1))
