"""A published folder small enough to be proved and exported in seconds, and true in every file: an untrained 2C2F."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.soundness.published import TINY, write_weights
from tests.toy import sha256, write_sums
from zoo.architectures import describe
from zoo.certificate.certify import certify
from zoo.publication.card import render
from zoo.publication.graph import write_graphs
from zoo.records import Evaluation, ModelConfig, dumps


def make_tiny(path: Path, max_file: int | None = None) -> Path:
    """A folder that `zoo verify` proves, with its card; the weights as shards where they are more than `max_file`."""
    path.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TINY.network().requires_grad_(False).eval()
    certificate = certify(
        network,
        TINY.input_shape,
        name="tiny",
        architecture=TINY,
        weights_sha256=write_weights(network, path, max_file),
    )
    labels = tuple(f"class {index}" for index in range(TINY.classes))
    config = ModelConfig("tiny", describe(TINY), "mnist", "l2", TINY.input_shape, labels, {}, "apache-2.0")
    (path / "certificate.json").write_text(dumps(certificate))
    (path / "config.json").write_text(dumps(config))
    write_graphs(path, config, certificate)
    evaluation = Evaluation(
        "mnist", "test", "", 1, 0.0, {"0.3": 0.0}, 0.0, (), 0.0, "a machine", sha256(path / "model.onnx")
    )
    (path / "evaluation.json").write_text(dumps(evaluation))
    (path / "README.md").write_text(render(config, certificate, evaluation))
    return sealed(path)


def sealed(folder: Path) -> Path:
    """The folder with the SHA256SUMS of its files as they are."""
    write_sums(folder)
    return folder
