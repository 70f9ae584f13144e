"""Accuracy and estimated VRA on the validation images: for choosing hyper-parameters, never published."""

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.boxes import Boxes
from training.data import Source, pixels
from training.estimate import LipschitzEstimate, RowSums
from training.liplt import LipLTEstimate
from training.losses import image_constants

Estimate = LipschitzEstimate | LipLTEstimate | RowSums  # of the margin constants; `Boxes` are `RowSums`

BATCH = 500


@torch.no_grad()
def validate(
    accelerator: Accelerator,
    network: nn.Module,
    estimate: Estimate,
    validation: Source,
    epsilon: float,
) -> dict[str, float]:
    """Accuracies of a plain float32 network with the converged Lipschitz estimate of the weights it was folded from.

    Every process counts its share of the images and answers for all.
    """
    body = estimate.converge()
    constants = estimate.margins(body)
    share = torch.arange(accelerator.process_index, len(validation), accelerator.num_processes)
    counts = torch.zeros(2, device=accelerator.device)
    for images, labels in validation.batches((rows, None) for rows in share.split(BATCH)):
        inputs = pixels(images)
        logits = network(inputs)
        predictions = logits.argmax(dim=1)
        if isinstance(estimate, Boxes):
            constants = estimate.of_images(inputs, predictions, logits, epsilon)
        right = predictions == labels
        counts += torch.stack([right.sum(), (right & certified(logits, constants, epsilon)).sum()])
    total = accelerator.reduce(counts)
    assert isinstance(total, Tensor)
    correct, robust = total.tolist()
    return {
        "validation_accuracy": correct / len(validation),
        "estimated_vra": robust / len(validation),
        "lipschitz_estimate": float(body),
    }


def certified(logits: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """Whether each image would be certified if the constants (see `image_constants`) were bounds. [N, C] to [N]."""
    predictions = logits.argmax(dim=1, keepdim=True)
    spare = logits.gather(1, predictions) - logits - epsilon * image_constants(margin_lipschitz, predictions[:, 0])
    return (spare.scatter(1, predictions, torch.inf) > 0).all(dim=1)


def vanished(accuracy: float, best: float, images: int, classes: int) -> bool:
    """Whether the accuracy has fallen back to chance: at most 1.5 times that of guessing, after at least three times.

    Never true for fewer images than ten a class, nor for two classes, where nothing is right three times as often.
    """
    return images >= 10 * classes and best >= 3 / classes and accuracy <= 1.5 / classes
