"""python -m export.triton NAME... --repository DIR: write an NVIDIA Triton model repository.

Triton's ONNX Runtime backend then runs the zoo's own `model.onnx`, on the CPU and with every graph optimisation off:
what was certified is what runs, so its radii are proved. Triton makes the batches.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from zoo.cli.shell import run_script
from zoo.data.datasets import plain_labels
from zoo.errors import InputError
from zoo.files import exists
from zoo.hub.client import fetch
from zoo.inference.runtime import CHUNK, onnx_model
from zoo.publication.folder import SUMS, Folder
from zoo.records import Outputs

VERSION = "1"


def write_repository(folders: list[Folder], repository: Path) -> None:
    """Write a folder for each model, each as a whole or not at all, and nothing outside of `repository`.

    Raises InputError if a folder exists already, cannot be written, or would hold text that Triton could misread.
    """
    names = [folder.config.name for folder in folders]
    for name in names:
        if not name.isprintable() or (repository / name).resolve().parent != repository.resolve():
            raise InputError(f"{name!r} names no folder in {repository}")
        if names.count(name) > 1 or exists(repository / name):
            raise InputError(f"{repository / name} is there already, or named twice: name another repository")
    try:
        repository.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            with tempfile.TemporaryDirectory(dir=repository, prefix=".partial-") as partial:
                path = Path(partial) / folder.config.name
                _write(folder, path)
                path.rename(repository / folder.config.name)
    except OSError as error:
        raise InputError(f"{repository}: cannot be written: {error.strerror}") from error


def configuration(folder: Folder) -> str:
    """config.pbtxt: the graph's own inputs and outputs, without the batch, which Triton adds.

    Level 2 switches every optimisation of ONNX Runtime off (onnxruntime_backend's README). KIND_CPU, because the
    certificate's arithmetic is that of the CPU's kernels.
    """
    shape = folder.config.input_shape
    example = onnx_model(folder, "float64").run(np.zeros((1, *shape), dtype=np.float32))
    lines = [
        f"name: {_quoted(folder.config.name)}",
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {CHUNK}",
        f'input [ {{ name: "images" data_type: TYPE_FP32 dims: {list(shape)} }} ]',
        "output [",
        ",\n".join(_output(name, getattr(example, name)) for name in Outputs._fields),
        "]",
        "dynamic_batching { max_queue_delay_microseconds: 500 }",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        "optimization { graph { level: 2 } }",
        "version_policy { specific { versions: [1] } }",
        f'parameters {{ key: "model_digest" value {{ string_value: {_quoted(folder.evaluation.graph_sha256)} }} }}',
        f'parameters {{ key: "norm" value {{ string_value: {_quoted(folder.config.norm)} }} }}',
        f'parameters {{ key: "unit" value {{ string_value: {_quoted(folder.certificate.unit)} }} }}',
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """The text as a string of JSON, which protobuf's text format reads as well."""
    return json.dumps(_line(text), ensure_ascii=False)


def _line(text: str) -> str:
    """The text, if it is one line without control characters. Raises InputError."""
    if not text.isprintable():
        raise InputError(f"{text[:80]!r}: a name, unit or label must be one line without control characters")
    return text


def _output(name: str, example: np.ndarray) -> str:
    kind = {"float64": "TYPE_FP64", "int64": "TYPE_INT64"}[example.dtype.name]
    if example.ndim == 1:  # one number for each image; Triton describes a tensor without dimensions only by a reshape
        return f'  {{ name: "{name}" data_type: {kind} dims: [1] reshape {{ shape: [] }} }}'
    labels = ' label_filename: "labels.txt"' if name == "logits" else ""
    return f'  {{ name: "{name}" data_type: {kind} dims: [{example.shape[1]}]{labels} }}'


def _write(folder: Folder, path: Path) -> None:
    (path / VERSION).mkdir(parents=True)
    (path / "config.pbtxt").write_text(configuration(folder), encoding="utf-8")
    labels = "".join(f"{_line(label)}\n" for label in plain_labels(folder.config.labels))
    (path / "labels.txt").write_text(labels, encoding="utf-8")
    for name, content in {"model.onnx": folder.read("model.onnx"), **folder.weights()}.items():
        (path / VERSION / name).write_bytes(content)
    for name in (SUMS, "certificate.json", "README.md"):  # so that the certificate travels with the graph
        shutil.copyfile(folder.path / name, path / name)


def main(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models, each as for `zoo predict`.")],
    repository: Annotated[Path, typer.Option(metavar="DIR", help="The model repository to write or add to.")],
) -> None:
    """Write an NVIDIA Triton model repository that answers with proved radii."""
    write_repository([fetch(name) for name in names], repository)
    print(f"wrote {', '.join(names)}; next: tritonserver --model-repository {repository}")


if __name__ == "__main__":
    run_script(main, "python -m export.triton")
