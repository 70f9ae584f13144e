"""The papers' losses, every one a function `(logits, labels, margin_lipschitz, epsilon, **options) -> scalar`.

Shapes throughout: logits [N, C], labels int64 [N], margin_lipschitz [C, C] with K_ij = K_ji and K_ii = 0
(`mixed_margin` also takes the constants of each image, [N, 1, C]), a scalar mean over the images. `epsilon` is a radius
in pixels of [0, 1], in the norm in which the constants are taken. t is an image's label, y its logits. A recipe holds a
loss with its options as data, so all take the four arguments, also where one is not needed. Gradients flow into logits
and margin_lipschitz, so that training pays for K, except where a docstring says detached.
"""

from training.losses.cll import calibrated_scale, cll, cll_binary, published_p
from training.losses.constrained import clipped_hinge, multi_margin, offset_cross_entropy
from training.losses.gloro import bottom_logit, cross_entropy, gloro, gloro_trades
from training.losses.margins import emma, fixed_margin, image_constants, lmt, logit_annealing, mixed_margin
from training.losses.radius import certificate_regularised, crm

__all__ = [
    "bottom_logit",
    "calibrated_scale",
    "certificate_regularised",
    "clipped_hinge",
    "cll",
    "cll_binary",
    "crm",
    "cross_entropy",
    "emma",
    "fixed_margin",
    "gloro",
    "gloro_trades",
    "image_constants",
    "lmt",
    "logit_annealing",
    "mixed_margin",
    "multi_margin",
    "offset_cross_entropy",
    "published_p",
]
