"""Tensors in JSON are numbers in lists, or refused in one line before an array is made of them."""

from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zoo.errors import InputError
from zoo.serve.protocol import read_images, read_request

SHAPE = (1, 4, 4)
COUNT = 16


def images_of(data: Any, datatype: str = "FP32", count: int = 1) -> np.ndarray:
    """What the server reads of one tensor in JSON, for a model of small pictures."""
    tensor = {"name": "images", "shape": [count, *SHAPE], "datatype": datatype, "data": data}
    served: Any = SimpleNamespace(model=SimpleNamespace(name="small", input_shape=SHAPE))
    return read_images(read_request(json.dumps({"inputs": [tensor]}).encode(), None, served), served)


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
def test_numbers_flat_or_nested(datatype: str):
    values = np.arange(2 * COUNT).reshape(2, *SHAPE) % 2
    for data in (values.ravel(), values, values.reshape(2, 2, 1, 1, 8)):
        read = images_of(data.tolist(), datatype, 2)
        assert (read.shape, read.dtype) == (values.shape, np.float32)
        assert (read == np.divide(values, 255 if datatype == "UINT8" else 1, dtype=np.float32)).all()
    mixed = images_of([0.5, 1] * (COUNT // 2))
    assert mixed.ravel().tolist() == [0.5, 1.0] * (COUNT // 2)


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [[]] * COUNT,
        ["0.5"] * COUNT,
        [1] * (COUNT - 1) + ["1"],
        [[1] * (COUNT - 1), ["1"]],
        [True] * COUNT,
        [1] * (COUNT - 1) + [True],
        [1] * (COUNT - 1) + [None],
        [1] * (COUNT - 1) + [[1]],
        [[1] * (COUNT - 1), [1]],
        [[1] * COUNT, {}],
        [[1] * COUNT, ""],
        [{"0": 1}] * COUNT,
        [10**400] * COUNT,
        [1] * (COUNT - 1) + [10**400],
        [1.0] * (COUNT - 1) + [10**400],
        [1] * (COUNT - 1) + [2**64],
        [1] * (COUNT - 1) + [-(2**70)],
        nested([1] * (COUNT - 1), 150),
        nested("1", 150),
        nested(1, 900),
    ],
    ids=lambda data: repr(data)[:30],
)
def test_anything_else_is_refused_in_one_line(data: Any, datatype: str):
    with pytest.raises(InputError) as told:
        images_of(data, datatype)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: [[data]]], ids=["flat", "nested"])
def test_a_long_string_among_short_ones_takes_no_memory(wrap: Any):
    """NumPy would make each entry as wide as the longest one: a thousand times this body."""
    data = wrap(["a" * 5000] + [""] * 400)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="data must be numbers"):
            images_of(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # 8 MB where the array is made


@pytest.mark.parametrize("value", [[], {}, 0, "", None], ids=repr)
def test_too_many_values_are_refused_before_they_are_parsed(value: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zoo.serve.protocol.InferenceRequest", None)
    with pytest.raises(InputError, match="values, at most 2024 are needed here"):
        images_of([value] * 3000)
