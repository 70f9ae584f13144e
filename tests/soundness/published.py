"""A tiny published folder, written as the exporter writes one, for the tests that need files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from export.publish import weight_files
from zoo.architectures import Architecture, describe
from zoo.architectures.convnet import ConvNet
from zoo.bounds.written import weights_of
from zoo.certificate.certify import certify
from zoo.publication.folder import GRAPHS, Folder
from zoo.publication.graph import write_graphs
from zoo.publication.weights import weights_sha256
from zoo.records import Evaluation, ModelConfig, dumps

TINY = ConvNet("2c2f", "minmax", input_size=8, channels=1, classes=3)


def write_weights(net: nn.Sequential, folder: Path, max_file: int | None = None) -> str:
    """The network's tensors as model.safetensors or as shards; answers what certificates name them by."""
    files = weight_files(weights_of(net), max_file)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return weights_sha256({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


def publish(path: Path, architecture: Architecture = TINY, seed: int = 0) -> Folder:
    """A folder with an untrained network: certificate, weights and graphs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = architecture.network().requires_grad_(False).eval()
    digest = write_weights(net, path)
    certificate = certify(net, architecture.input_shape, name="toy", architecture=architecture, weights_sha256=digest)
    (path / "certificate.json").write_text(dumps(certificate))
    labels = tuple(f"class {index}" for index in range(architecture.classes))
    config = ModelConfig(
        "toy", describe(architecture), "noise", "l2", architecture.input_shape, labels, {}, "apache-2.0"
    )
    write_graphs(path, config, certificate)
    files = ("certificate.json", "model.safetensors", *GRAPHS.values())
    digests = {file: hashlib.sha256((path / file).read_bytes()).hexdigest() for file in files}
    evaluation = Evaluation("noise", "test", "", 0, 0.0, {}, 0.0, (), 0.0, "", digests["model.onnx"])
    return Folder(path, config, certificate, evaluation, digests)
