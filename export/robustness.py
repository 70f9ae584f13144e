"""The accuracy that attacks leave to a model; none of them may succeed against a certificate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from export.dense import densify
from training.minmax import quicken
from training.toomcook import FastConvolutions
from zoo.attacks import distances, pgd
from zoo.epsilon import parse_epsilon
from zoo.errors import CertificateError
from zoo.inference.runtime import Model

STEPS = 100
RESTARTS = 10
BATCH = 128


def describe(norm: str, precision: str = "no") -> str:
    """The attack in words."""
    network = {"no": "float32 network", "bf16": "network in bfloat16, as it was trained"}[precision]
    return (
        f"{norm} PGD with the margin loss on the {network}, {STEPS} steps from each of {RESTARTS} random starts, "
        "judged by model.onnx; from one start where the image is certified at epsilon, which tests the certificate. "
        "What falls at an epsilon counts as fallen at the larger ones"
    )


def pgd_accuracy(
    network: nn.Module,
    model: Model,
    images: Tensor,
    labels: np.ndarray,
    epsilons: Sequence[str],
    advance: Callable[[str, int], None] = lambda epsilon, count: None,
    precision: str = "no",
) -> dict[str, float]:
    """The share of images, by epsilon, that the model gets right and PGD does not change: an upper bound of VRA.

    network: `model` without its certificate, in float32. images [N, C, H, W] float32 in [0, 1], labels [N].
    advance: called with an epsilon and the number of images that are done at it. precision: a recipe's
    `mixed_precision`, "bf16" for gradients in bfloat16 or "no" for float32.
    Raises CertificateError if an image changes its label within its certified radius, which proves the certificate
    wrong.
    """
    before = model.outputs(images.numpy())
    logits = differentiable(network, images[:1], precision)
    standing = np.flatnonzero(before.label == labels)
    generator = torch.Generator().manual_seed(0)
    left: dict[str, float] = {}
    for epsilon in sorted(epsilons, key=parse_epsilon):
        size = parse_epsilon(epsilon)
        certified = before.radius > size
        candidates = len(standing)
        advance(epsilon, len(labels) - candidates)
        for start in range(RESTARTS):
            tried = standing if start == 0 else standing[~certified[standing]]
            fallen = np.zeros(len(labels), dtype=bool)
            distance = np.full(len(labels), np.inf)
            for first in range(0, len(tried), BATCH):
                rows = tried[first : first + BATCH]
                wanted = torch.from_numpy(labels[rows])
                attacked = pgd(logits, images[rows], wanted, size * (1 - 1e-6), model.norm, STEPS, generator)
                fallen[rows] = model.outputs(attacked.numpy()).label != labels[rows]
                distance[rows] = distances(attacked, images[rows], model.norm).numpy()
            # An image that float32 rounds to a point beyond a radius, or beyond epsilon, does not count against it.
            if (broken := np.flatnonzero(fallen & (distance <= before.radius))).size:
                raise CertificateError(
                    f"image {broken[0]} has the certified radius {before.radius[broken[0]]} and another label at "
                    f"{distance[broken[0]]}: the certificate of {model.name} is wrong"
                )
            standing = standing[~(fallen & (distance <= size))[standing]]
        left[epsilon] = len(standing) / len(labels)
        advance(epsilon, candidates)
    return {epsilon: left[epsilon] for epsilon in epsilons}


def most_seconds(
    network: nn.Module, model: Model, images: Tensor, labels: np.ndarray, epsilons: Sequence[str], precision: str = "no"
) -> float:
    """About how long `pgd_accuracy` takes at most with the same arguments, by the time of two of its steps.

    It takes less if attacks succeed early.
    """
    before = model.outputs(images.numpy())
    right, logits, wanted = before.label == labels, differentiable(network, images[:1], precision), images[:BATCH]

    def attack(steps: int) -> float:
        start, answers = time.perf_counter(), torch.from_numpy(before.label[:BATCH])
        pgd(logits, wanted, answers, 1e-3, model.norm, steps)
        return time.perf_counter() - start

    attack(1)
    one = attack(2) / 2 / len(wanted)
    starts = [right + (RESTARTS - 1) * (right & (before.radius <= parse_epsilon(epsilon))) for epsilon in epsilons]
    return one * STEPS * float(np.sum(starts))


def differentiable(network: nn.Module, example: Tensor, precision: str) -> Callable[[Tensor], Tensor]:
    """The network, made to give gradients for its images quickly."""
    quick = copy.deepcopy(network).requires_grad_(False)
    for weight in quick.parameters():
        if weight.ndim == 4:  # the layout does not exist for the 5 dimensions of a weight in the Fourier basis
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    densify(quick, example)
    quicken(quick)

    def logits(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"), FastConvolutions():
            return quick(images.contiguous(memory_format=torch.channels_last)).float()

    return logits
