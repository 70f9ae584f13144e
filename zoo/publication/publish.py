"""A network of one's own as a published folder, and how any published folder is written: whole or not at all."""

from __future__ import annotations

import fnmatch
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save
from torch import Tensor, nn

from zoo.architectures import Architecture
from zoo.architectures.layers import layers_of
from zoo.bounds.written import weights_of
from zoo.certificate.certify import Advance, certify
from zoo.errors import CertificateError, InputError, one_line
from zoo.files import flush, sha256, sums_text, write_whole
from zoo.publication.card import write_card
from zoo.publication.folder import GRAPHS, NAME, PATTERNS, SIGNATURE, SUMS, Folder, read_folder
from zoo.publication.graph import write_graphs
from zoo.publication.network import load_weights
from zoo.publication.weights import INDEX, WEIGHTS, data_start, read_weights, shard_index, weights_sha256
from zoo.records import Certificate, Evaluation, ModelConfig, dumps

UNLISTED = (SUMS, SIGNATURE)  # in SHA256SUMS


def publish(
    network: nn.Sequential,
    folder: str | Path,
    input_shape: Sequence[int],
    labels: Sequence[str],
    *,
    name: str = "network",
    norm: str = "l2",
    levels: Sequence[float] = (),
    dataset: str | None = None,
    license: str = "other",
    recipe: dict[str, Any] | None = None,
) -> Folder:
    """The network as a checked, published folder, which `zoo verify`, `zoo.load` and servers take.

    A published folder that is there already is replaced. The architecture is written as the list of its layers, so that
    nobody needs the code that made it; what is certified is the network that this list and the weights' file give when
    they are read again, in evaluation mode. How often it is right is not measured: `zoo evaluate local-dir:FOLDER
    PICTURES` does that.

    input_shape, norm, levels: as `zoo.certify` takes them.
    labels: the names of the classes, in the order of the head's rows.
    name, license: what config.json and the card say. dataset: what the pictures are called there, by default `name`.
    recipe: how the network was trained, as JSON.
    Raises InputError where an argument cannot be used or the folder holds something else, UncertifiableLayerError and
    CertificateError as `zoo.certify` does.

    >>> from zoo.layers import Pixels
    >>> network = nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(784, 10))
    >>> with tempfile.TemporaryDirectory() as scratch:
    ...     folder = publish(network, f"{scratch}/linear", (1, 28, 28), "0123456789", name="linear")
    >>> folder.config.name, folder.certificate.layers[1].kind
    ('linear', 'Flatten')
    """
    output, labels, dataset = Path(folder), tuple(labels), dataset or name
    if not NAME.fullmatch(name):
        raise InputError(f"name must be a model's name as on hubs, such as my-network, got {name[:80]!r}")
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
        raise InputError("labels must be different words, one for each class")
    architecture = layers_of(network, input_shape)
    if len(labels) != architecture.classes:
        raise InputError(f"{len(labels)} labels, the network has {architecture.classes} classes")
    with new_folder(output) as written:
        for file, content in weight_files(weights_of(network)).items():
            (written / file).write_bytes(content)
        certificate = certificate_of(written, architecture, name, norm, levels)
        shape = architecture.input_shape
        config = ModelConfig(name, certificate.architecture, dataset, norm, shape, labels, recipe or {}, license)
        (written / "config.json").write_text(dumps(config), encoding="utf-8")
        (written / "certificate.json").write_text(dumps(certificate), encoding="utf-8")
        write_graphs(written, config, certificate)
        _check_loads(written / GRAPHS["float64"])
        evaluation = unmeasured(dataset, sha256(written / "model.onnx"))
        (written / "evaluation.json").write_text(dumps(evaluation), encoding="utf-8")
        write_card(written, config, certificate, evaluation)
    return read_folder(output)


def _check_loads(graph: Path) -> None:
    """Raise CertificateError if ONNX Runtime cannot load the graph."""
    try:
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no class in common but this one
        raise CertificateError(f"ONNX Runtime cannot load the graph of this network: {one_line(error)}") from error


def certificate_of(
    folder: Path,
    architecture: Architecture,
    name: str,
    norm: str,
    levels: Sequence[float],
    advance: Advance = lambda layer, total: None,
) -> Certificate:
    """The certificate of the weights in a folder that is being written, read back from its files.

    advance: as `certify` takes it. Raises CertificateError where they do not fit the architecture.
    """
    weights = read_weights(folder)
    network = architecture.network().requires_grad_(False).eval()
    network.load_state_dict(load_weights(weights), strict=True, assign=True)  # float32, whatever torch's default is
    return certify(
        network,
        architecture.input_shape,
        norm,
        levels,
        name=name,
        architecture=architecture,
        weights_sha256=weights_sha256({file: sha256(folder / file) for file in weights}),
        advance=advance,
    )


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """An empty folder to write a published folder to.

    At the end it gets its SHA256SUMS, is checked, and takes the place of `output`; if the body raises, nothing changes.
    Raises InputError where `output` holds something else than a published folder, or cannot be written.
    """
    if output.exists() and not (output.is_dir() and all(map(_is_published, output.iterdir()))):
        raise InputError(f"{output} is in use by something that is no published folder: choose another one")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {one_line(error)}") from error
    with scratch:
        written = Path(scratch.name) / output.name
        written.mkdir()
        yield written
        seal(written)
        read_folder(written)
        move_into_place(written, output)


def weight_files(tensors: dict[str, Tensor], max_file: int | None = None) -> dict[str, bytes]:
    """The files of the weights by name: `model.safetensors`, or shards and their index if it had over `max_file` bytes.

    Raises InputError where a single tensor is larger.
    """
    whole = save(tensors)
    if max_file is None or len(whole) <= max_file:
        return {WEIGHTS: whole}
    plan = split_torch_state_dict_into_shards(tensors, max_shard_size=max_file - data_start(whole))
    shards = {name: save({key: tensors[key] for key in keys}) for name, keys in plan.filename_to_tensors.items()}
    for name, content in shards.items():
        if len(content) > max_file:
            tensor = plan.filename_to_tensors[name][0]
            raise InputError(f"{tensor} is larger than {max_file:,} bytes, no file here may be: publish by --output")
    return {**shards, INDEX: shard_index(shards)}


def unmeasured(dataset: str, graph_sha256: str) -> Evaluation:
    """What evaluation.json says where there is no test set."""
    return Evaluation(
        dataset=dataset,
        split="",
        revision="",
        images=0,
        clean_accuracy=0.0,
        vra={},
        acr=0.0,
        curve=(),
        seconds=0.0,
        machine="",
        graph_sha256=graph_sha256,
    )


def seal(folder: Path) -> None:
    """Write SHA256SUMS over the folder's files as they are, once all of them are on the disk."""
    listed = sorted(child.name for child in folder.iterdir() if _is_published(child) and child.name not in UNLISTED)
    for name in listed:
        flush(folder / name)
    write_whole(folder / SUMS, sums_text({name: sha256(folder / name) for name in listed}))


def _is_published(path: Path) -> bool:
    """Whether a published folder may have a file of this name."""
    return any(fnmatch.fnmatchcase(path.name, pattern) for pattern in PATTERNS)


def move_into_place(folder: Path, output: Path) -> None:
    """Rename the finished folder to `output`. An older one is removed once that is done, and put back if it fails."""
    older = folder.with_name(f"{folder.name}.older")
    try:
        if output.exists():
            output.replace(older)
        folder.replace(output)
    except BaseException:
        if older.exists() and not output.exists():
            older.replace(output)
        raise
    shutil.rmtree(older, ignore_errors=True)
