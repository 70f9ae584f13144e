"""Accuracy and estimated VRA on the validation images: for choosing hyper-parameters, never published."""

import torch
from torch import Tensor, nn

from training.constraints import folded_state
from training.data import Images
from training.estimate import LipschitzEstimate, RowSums, margin_lipschitz
from zoo.architectures import Architecture


@torch.no_grad()
def validate(
    network: nn.Sequential,
    architecture: Architecture,
    estimate: LipschitzEstimate | RowSums,
    validation: Images,
    epsilon: float,
    batch_size: int = 500,
) -> dict[str, float]:
    """Accuracies of the plain float32 network that would ship now, with its converged Lipschitz estimate."""
    plain = architecture.network().to(next(network.parameters()).device).eval()
    plain.load_state_dict(folded_state(network))
    body = estimate.converge()
    constants = margin_lipschitz(body, plain.head.weight, estimate.norm)
    correct = robust = 0
    for images, labels in zip(validation.images.split(batch_size), validation.labels.split(batch_size), strict=True):
        logits = plain(images.to(body.device).float() / 255)
        labels = labels.to(body.device)
        right = logits.argmax(dim=1) == labels
        correct += int(right.sum())
        robust += int((right & certified(logits, constants, epsilon)).sum())
    return {
        "validation_accuracy": correct / len(validation.labels),
        "estimated_vra": robust / len(validation.labels),
        "lipschitz_estimate": float(body),
    }


def certified(logits: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """Whether the margins exceed what epsilon can move them, were `margin_lipschitz` a bound. [N, C], [C, C] to [N]."""
    predictions = logits.argmax(dim=1, keepdim=True)
    spare = logits.gather(1, predictions) - logits - epsilon * margin_lipschitz[predictions[:, 0]]
    return (spare.scatter(1, predictions, torch.inf) > 0).all(dim=1)
