"""The proved graph on a GPU: all of it must run there, in float64, or the claim says nothing of it.

`zoo.load` refuses float64 on CUDA until this has been seen to pass on a device.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from zoo.hub.client import fetch, load
from zoo.records import Outputs

CUDA = "CUDAExecutionProvider"
pytestmark = pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="no CUDA here")


def test_every_node_runs_on_the_gpu_and_answers_within_the_slack(tmp_path: Path):
    """Shapes and labels apart, whose few integers ONNX Runtime may keep on the CPU."""
    model, reference = load("liresnet-l4w32-cifar10-jpeg75"), load("liresnet-l4w32-cifar10-jpeg75", backend="torch")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    path = fetch(model.name).path / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, [CUDA])
    images = np.random.default_rng(0).random((4, *model.input_shape), dtype=np.float32)
    theirs = Outputs(*session.run(None, {"images": images}))
    events = json.loads(Path(session.end_profiling()).read_text())
    elsewhere = {
        event["args"]["op_name"]
        for event in events
        if event.get("cat") == "Node" and event["args"].get("provider", CUDA) != CUDA
    }
    assert not elsewhere & {"MatMul", "Gemm", "Add", "Sub", "Mul", "Div", "Max", "Min", "Relu", "ReduceSum"}
    ours = reference.outputs(images)
    slack = reference.module.slack  # type: ignore[union-attr]
    assert np.abs(ours.logits - theirs.logits).max() <= float(slack[slack > 0].min())
    assert (ours.label == theirs.label).all()
