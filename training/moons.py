"""The two moons: the margins that networks have after training with cross-entropy, GloRo and CLL, side by side.

`python -m training two-moons --output moons.png` draws CLL's figures 2 and 4 (Losch, Stutz, Schiele, Fritz 2023, arXiv
2309.06166): decision boundary, certified margin, and as crosses the training points that are not certified at epsilon.
Every radius in the picture is proved. Where we differ: 60 epochs of AdamW from an orthogonal start for every network.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrize

from training.constraints import folded_state
from training.data import seeded
from training.estimate import LipschitzEstimate
from training.layers import constrain
from training.losses import calibrated_scale, cll_binary, cross_entropy, gloro, published_p
from training.recipes.recipe import Loss
from training.schedules import Cosine
from zoo.architectures.mlp import CORNER, SIDE, TwoMoonsMLP
from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel
from zoo.data.moons import two_moons
from zoo.files import replacing

EPSILONS = (0.15, 0.25, 0.35, 0.45)  # in the plane, where each point has a true margin of 0.15
SLACK = published_p(1e-12)
EPOCHS, BATCH, RATE, SEED = 60, 100, 1e-2, 0
LOSSES: dict[str, Loss] = {
    "Cross-entropy": cross_entropy,
    "GloRo": gloro,
    "CLL": partial(cll_binary, p=SLACK, weight=1e-2),
}
VIEW = (-1.4, 2.4, -1.1, 1.6)  # left, right, bottom, top


class Fit(NamedTuple):
    """A trained and certified network, and what it achieves on its training points at `epsilon`."""

    loss: str
    epsilon: float
    model: CertifiedModel
    steepness: float  # the Lipschitz constant of the loss's logistic after the network: the paper's K
    robust: torch.Tensor  # bool [N]: right, and certified at epsilon

    @property
    def vra(self) -> float:
        """Verified-robust accuracy on the training points."""
        return self.robust.double().mean().item()


def fit(loss: str, epsilon: float, epochs: int = EPOCHS) -> Fit:
    """The network of CLL's figures, trained with the loss at epsilon, which takes a second or two."""
    points, labels = training_points()
    architecture = TwoMoonsMLP()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = constrain(architecture.network(), architecture)
    estimate = LipschitzEstimate(network, architecture.input_shape, SEED, iterations=5)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    batches = len(points) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: Cosine()(step / (epochs * batches)))
    for epoch in range(epochs):
        order = torch.randperm(len(points), generator=seeded(SEED, epoch))
        for batch in order.split(BATCH):
            with parametrize.cached():
                margins = estimate.margins(estimate())
                value = LOSSES[loss](network(points[batch]), labels[batch], margins, epsilon / SIDE)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    plain = architecture.network().requires_grad_(False).eval()
    plain.load_state_dict(folded_state(network))
    certificate = certify(plain, architecture.input_shape, name="two-moons", architecture=architecture)
    model = CertifiedModel.of(plain, certificate)
    outputs = model(points)
    robust = (outputs.label == labels) & (SIDE * outputs.radius > epsilon)
    steepness = float(model.margin_lipschitz[0, 1]) / SIDE
    if loss == "CLL":
        steepness = 1 / calibrated_scale(epsilon, SLACK)
    return Fit(loss, epsilon, model, steepness, robust)


def training_points() -> tuple[torch.Tensor, torch.Tensor]:
    """The training split, [N, 2, 1, 1] in the unit square, and its labels."""
    split = two_moons("train")
    return torch.from_numpy(split.images).permute(0, 3, 1, 2), torch.from_numpy(split.labels)


def draw(path: Path) -> list[Fit]:
    """Write the picture as PNG and return what it shows: cross-entropy once, GloRo and CLL at each epsilon."""
    from matplotlib.figure import Figure

    fits = [fit("Cross-entropy", EPSILONS[0])]
    fits += [fit(loss, epsilon) for loss in ("GloRo", "CLL") for epsilon in EPSILONS]
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    columns = [str(epsilon) for epsilon in EPSILONS]
    panels = figure.subplot_mosaic(
        [
            ["Cross-entropy", *(f"GloRo {column}" for column in columns)],
            ["key", *(f"CLL {column}" for column in columns)],
        ]
    )
    for shown in fits:
        name = shown.loss if shown.loss == "Cross-entropy" else f"{shown.loss} {shown.epsilon}"
        _draw_fit(panels[name], shown)
    handles, texts = panels["GloRo 0.15"].get_legend_handles_labels()
    panels["key"].axis("off")
    panels["key"].legend(handles, texts, loc="center", frameon=False, fontsize=10, markerscale=3.5)
    with replacing(path) as partial_path:
        figure.savefig(partial_path, format="png", dpi=110, metadata={"Software": None})
    return fits


def _draw_fit(axes: Any, shown: Fit) -> None:
    left, right, bottom, top = VIEW
    x, y = np.meshgrid(np.linspace(left, right, 240), np.linspace(bottom, top, 170))
    with torch.no_grad():
        outputs = shown.model(_to_unit_square(x.ravel(), y.ravel()))
    distance = (SIDE * outputs.radius * (2 * outputs.label - 1)).numpy().reshape(x.shape)
    points, labels = training_points()
    plane = points.flatten(1).numpy() * SIDE + np.array(CORNER)
    for label, colour, name in ((0, "#0072B2", "one moon"), (1, "#E69F00", "the other")):
        chosen = shown.robust.numpy() & (labels.numpy() == label)
        axes.scatter(*plane[chosen].T, s=3, color=colour, label=f"{name}, certified at epsilon", linewidths=0)
    cross = {"s": 8, "color": "black", "marker": "x", "linewidths": 0.6, "zorder": 3}
    axes.scatter(*plane[~shown.robust.numpy()].T, **cross, label="wrong or not certified")
    axes.contour(x, y, distance, [0.0], colors="black", linewidths=1.6)
    axes.contour(x, y, distance, [-shown.epsilon, shown.epsilon], colors="grey", linewidths=1.0, linestyles="solid")
    axes.plot([], [], color="black", label="decision boundary")
    axes.plot([], [], color="grey", label="certified radius = epsilon")
    title = f"{shown.loss}, ε = {shown.epsilon}\nVRA {100 * shown.vra:.2f} %, K = {shown.steepness:.1f}"
    axes.set(title=title, xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], aspect="equal")


def _to_unit_square(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    plane = (np.stack([x, y], axis=1) - np.array(CORNER)) / SIDE
    return torch.from_numpy(plane.astype(np.float32))[:, :, None, None]
