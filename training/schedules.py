"""What changes during training, as functions of progress: 0 at the first step, 1 after the last."""

import math


def epsilon_ramp(progress: float, epsilon: float, max_ratio: float) -> float:
    """The training radius: 0.1 epsilon at first, max_ratio epsilon from half-way on, linear between.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, appendix B.1: (min(2t/T, 1) (max_ratio - 0.1) + 0.1) epsilon.
    """
    return (min(2 * progress, 1) * (max_ratio - 0.1) + 0.1) * epsilon


def cosine_with_warmup(progress: float, warmup: float) -> float:
    """The learning rate's factor: linear from 0 to 1 while progress is below `warmup`, then half a cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
