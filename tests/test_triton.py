"""The Triton repository is what NVIDIA's schema says, and NVIDIA's server answers from it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import zoo
from export.triton import configuration, write_repository
from zoo.errors import InputError
from zoo.hub.client import fetch
from zoo.inference.runtime import CHUNK, onnx_model

NAMES = ("2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75")
# The Python of an environment with nvidia-pytriton and onnxruntime. Its server is built for Debian's Python 3.11.
TRITON = os.environ.get("ZOO_TRITON_PYTHON", "")

# Stands in for Triton's ONNX Runtime backend, which the package leaves out: the same file, the same options.
BACKEND = """
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_outputs()]

    def execute(self, requests):
        batches = [pb_utils.get_input_tensor_by_name(request, "images").as_numpy() for request in requests]
        outputs = self.session.run(self.names, {"images": np.concatenate(batches)})
        responses, start = [], 0
        for batch in batches:
            rows = slice(start, start := start + len(batch))
            tensors = [
                pb_utils.Tensor(name, value[rows].reshape(len(batch), -1) if value.ndim == 1 else value[rows])
                for name, value in zip(self.names, outputs)
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    write_repository([fetch(name) for name in NAMES], path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_nvidias_schema_reads_the_configuration(repository: Path, name: str):
    config = text_format.Parse((repository / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    model = zoo.load(name)
    assert (config.name, config.backend, config.max_batch_size) == (name, "onnxruntime", CHUNK)
    assert [(value.name, tuple(value.dims)) for value in config.input] == [("images", model.input_shape)]
    assert [value.name for value in config.output] == ["logits", "label", "radius", "class_radii", "topk_radius"]
    assert [tuple(value.dims) for value in config.output] == [(10,), (1,), (1,), (10,), (5,)]
    assert config.HasField("dynamic_batching")
    assert config.optimization.graph.level == 2  # every optimisation off
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    assert config.parameters["model_digest"].string_value == model.evaluation.graph_sha256


def test_the_schema_would_notice_a_mistake():
    text = configuration(fetch(NAMES[0]))
    with pytest.raises(text_format.ParseError, match="max_batch_sizes"):
        text_format.Parse(text.replace("max_batch_size", "max_batch_sizes"), model_config_pb2.ModelConfig())


def test_the_files_are_the_published_ones(repository: Path):
    for name in NAMES:
        folder = fetch(name)
        for file in ("model.onnx", "model.safetensors"):
            assert (repository / name / "1" / file).read_bytes() == (folder.path / file).read_bytes()
        assert (repository / name / "labels.txt").read_text().splitlines() == list(folder.config.labels)


def test_nothing_is_overwritten(repository: Path):
    with pytest.raises(InputError, match="is there already"):
        write_repository([fetch(NAMES[0])], repository)
    assert sorted(path.name for path in repository.iterdir()) == list(NAMES)


def test_words_of_a_stranger_stay_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = fetch(NAMES[0])
    model = onnx_model(folder, "float64")  # that the graph says the same words is no matter here
    monkeypatch.setattr("export.triton.onnx_model", lambda folder, precision: model)
    unit = 'l2" } }\nmodel_operations { op_library_filename: "evil.so" }\n\\ é #'
    with pytest.raises(InputError, match="must be one line"):
        configuration(replace(folder, certificate=replace(folder.certificate, unit=unit)))
    unit = unit.replace("\n", " ")
    text = configuration(replace(folder, certificate=replace(folder.certificate, unit=unit)))
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.parameters["unit"].string_value == unit
    assert not config.HasField("model_operations")
    for name in ("../escaped", "..", ".", "a/b", "/tmp/escaped", "a\0b", "a\nb"):
        with pytest.raises(InputError, match="names no folder in"):
            write_repository([replace(folder, config=replace(folder.config, name=name))], tmp_path / "repository")
    labels = ("0\n1", *folder.config.labels[1:])
    with pytest.raises(InputError, match="a name, unit or label must be one line"):
        write_repository([replace(folder, config=replace(folder.config, labels=labels))], tmp_path / "repository")
    assert [path.name for path in tmp_path.rglob("*")] == ["repository"]


@pytest.mark.slow
@pytest.mark.skipif(not TRITON, reason="ZOO_TRITON_PYTHON names no Python with nvidia-pytriton and onnxruntime")
def test_nvidias_server_serves_it(repository: Path, tmp_path: Path):
    served = tmp_path / "served"
    shutil.copytree(repository, served)
    for name in NAMES:
        config = served / name / "config.pbtxt"
        text = config.read_text().replace('"onnxruntime"', '"python"').replace('"model.onnx"', '"model.py"')
        config.write_text(text.replace(" reshape { shape: [] }", ""))
        (served / name / "1" / "model.py").write_text(BACKEND)
    where = "import pytriton, sysconfig; print(pytriton.__path__[0]); print(sysconfig.get_config_var('LIBDIR'))"
    told = subprocess.run([TRITON, "-c", where], capture_output=True, text=True, check=True).stdout.splitlines()
    package = Path(told[0])
    shutil.copytree(package / "tritonserver" / "backends", tmp_path / "backends")
    stub = package / "tritonserver" / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    shutil.copy(stub, tmp_path / "backends" / "python")
    libraries = [str(package.parent / "nvidia_pytriton.libs"), *told[1:]]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PYTHONPATH": str(package.parent),
        "PATH": f"{Path(TRITON).parent}:{os.environ['PATH']}",
    }
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    command = [
        *(str(package / "tritonserver" / "bin" / "tritonserver"), "--model-repository", str(served)),
        *("--backend-directory", str(tmp_path / "backends"), "--http-port", str(ports[0])),
        *("--grpc-port", str(ports[1]), "--allow-metrics", "false", "--http-address", "127.0.0.1"),
    ]
    log = tmp_path / "log"
    with log.open("w") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            with tritonclient.http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
                for _ in range(120):
                    assert process.poll() is None, log.read_text()[-3000:]
                    try:
                        if client.is_server_ready():
                            break
                    except OSError:
                        pass
                    time.sleep(0.5)
                for name in NAMES:
                    model = zoo.load(name)
                    images = np.random.default_rng(0).random((3, *model.input_shape), dtype=np.float32)
                    tensor = tritonclient.http.InferInput("images", list(images.shape), "FP32")
                    tensor.set_data_from_numpy(images)
                    result = client.infer(name, [tensor])
                    for output_name, value in model.outputs(images)._asdict().items():
                        answered = result.as_numpy(output_name).reshape(value.shape)
                        np.testing.assert_allclose(answered, value, rtol=1e-9)
        finally:
            process.terminate()
