"""Every method of the Open Inference Protocol's clients gets a right answer, or an error that says why none."""

from __future__ import annotations

import inspect
import json
import queue
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

import zoo
from tests.serving import CIFAR, MNIST, ROOT, Server

CLIENTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
FLOATS = IMAGES / np.float32(255)
INFERENCE = {"infer", "async_infer", "start_stream", "stop_stream", "async_stream_infer"}
LOCAL = {"close", "plugin", "register_plugin", "unregister_plugin", "generate_request_body", "parse_response_body"}
LOADING, MEMORY = "no model is loaded or unloaded on request", "no shared memory is read or written"
ANSWERS: list[tuple[str, tuple[Any, ...], Any]] = [  # method, arguments, the answer or what the error says
    ("is_server_live", (), True),
    ("is_server_ready", (), True),
    ("is_model_ready", (MNIST,), True),
    ("is_model_ready", (MNIST, "1"), True),
    ("is_model_ready", (MNIST, "2"), False),
    ("is_model_ready", ("nothing",), False),
    ("get_model_metadata", ("nothing",), "no model 'nothing' is served"),
    ("get_model_config", (MNIST, "2"), "has version 1 only, got '2'"),
    ("get_inference_statistics", ("nothing",), "no model 'nothing' is served"),
    ("get_inference_statistics", (MNIST, "2"), "has version 1 only, got '2'"),
    ("get_trace_settings", ("nothing",), "no model 'nothing' is served"),
    ("update_trace_settings", (MNIST, {"trace_level": ["TIMESTAMPS"]}), "nothing is traced"),
    ("update_log_settings", ({"log_verbose_level": 1},), "the log is fixed"),
    ("load_model", (MNIST,), LOADING),
    ("unload_model", (MNIST,), LOADING),
    *((f"get_{kind}_shared_memory_status", (), MEMORY) for kind in ("system", "cuda")),
    *((f"unregister_{kind}_shared_memory", (), MEMORY) for kind in ("system", "cuda")),
    ("register_system_shared_memory", ("mine", "/mine", 8), MEMORY),
    ("register_cuda_shared_memory", ("mine", b"mine", 0, 8), MEMORY),
]
DOCUMENTS = [
    ("get_server_metadata", ()),
    ("get_model_metadata", (CIFAR,)),
    ("get_model_config", (CIFAR,)),
    ("get_model_config", (CIFAR, "1")),
    ("get_model_repository_index", ()),
    ("get_inference_statistics", ()),
    ("get_inference_statistics", (CIFAR,)),
    ("get_trace_settings", ()),
    ("get_trace_settings", (MNIST,)),
    ("update_trace_settings", (MNIST, {})),
    ("get_log_settings", ()),
    ("update_log_settings", ({},)),
]


def tensor(kind: str, values: np.ndarray, datatype: str) -> Any:
    given = CLIENTS[kind].InferInput("images", list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def radius(name: str, images: np.ndarray) -> Any:
    return pytest.approx(zoo.load(name).outputs(images).radius, rel=1e-9)


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def client(server: Server, kind: str) -> Any:
    with CLIENTS[kind].InferenceServerClient(server.host if kind == "http" else server.grpc) as made:
        yield made


def test_every_method_of_the_clients_is_tried():
    methods = {name for module in CLIENTS.values() for name, _ in inspect.getmembers(module.InferenceServerClient)}
    tried = {row[0] for row in (*ANSWERS, *DOCUMENTS)} | INFERENCE | LOCAL
    assert {name for name in methods if not name.startswith("_")} == tried


@pytest.mark.parametrize(("method", "arguments", "expected"), ANSWERS)
def test_a_question_beside_inference(client: Any, method: str, arguments: tuple[Any, ...], expected: Any):
    if isinstance(expected, bool):
        assert getattr(client, method)(*arguments) is expected
        return
    with pytest.raises(InferenceServerException, match=expected) as told:
        getattr(client, method)(*arguments)
    assert told.value.status() in ("400", "404", "StatusCode.NOT_FOUND", "StatusCode.UNIMPLEMENTED")


def test_both_protocols_answer_the_same(server: Server):
    with (
        tritonclient.http.InferenceServerClient(server.host) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as rpc,
    ):
        for method, arguments in DOCUMENTS:
            message = getattr(rpc, method)(*arguments)
            document = getattr(http, method)(*arguments)
            document = {"models": document} if isinstance(document, list) else document
            document = {"config": document} if method == "get_model_config" else document
            if "settings" in method.split("_"):
                document = {"settings": {name: setting(method, value) for name, value in document.items()}}
            assert MessageToDict(type(message)(**document), preserving_proto_field_name=True) == MessageToDict(
                message, preserving_proto_field_name=True
            )


def setting(method: str, value: Any) -> dict[str, Any]:
    if "trace" in method:
        return {"value": [value] if isinstance(value, str) else value}
    return {{bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]: value}


def test_the_configuration_fits_the_metadata_and_a_request(server: Server):
    for name, shape in ((MNIST, [1, 28, 28]), (CIFAR, [3, 32, 32])):
        told = server.json("GET", f"/v2/models/{name}/config")
        assert (told["name"], told["max_batch_size"], told["backend"]) == (name, 32, "onnxruntime")
        assert told["input"] == [{"name": "images", "data_type": "TYPE_FP32", "dims": shape}]
        metadata = server.json("GET", f"/v2/models/{name}")
        assert [[-1, *output["dims"]] for output in told["output"]] == [
            output["shape"] for output in metadata["outputs"]
        ]
    assert [row["name"] for row in server.json("POST", "/v2/repository/index", {"ready": True})] == [MNIST, CIFAR]


def test_statistics_count_what_was_asked(client: Any, kind: str, server: Server):
    def counted() -> dict[str, Any]:
        return server.json("GET", f"/v2/models/{MNIST}/stats")["model_stats"][0]

    before = counted()
    client.infer(MNIST, [tensor(kind, FLOATS, "FP32")])
    with pytest.raises(InferenceServerException, match="up to 2"):
        client.infer(MNIST, [tensor(kind, FLOATS + 1, "FP32")])
    after = counted()
    assert after["inference_count"] - before["inference_count"] == len(FLOATS)
    assert after["last_inference"] > before["last_inference"]
    spent, earlier = after["inference_stats"], before["inference_stats"]
    assert {name: value["count"] - earlier[name]["count"] for name, value in spent.items()} == {
        **dict.fromkeys(("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"), 1),
        "cache_hit": 0,
        "cache_miss": 0,
    }
    parts = ("queue", "compute_input", "compute_infer")
    assert (
        0
        < sum(spent[name]["ns"] - earlier[name]["ns"] for name in parts)
        <= (spent["success"]["ns"] - earlier["success"]["ns"])
    )
    runs = after["batch_stats"]
    assert sum(run["compute_infer"]["count"] for run in runs) == after["execution_count"]
    assert sum(run["batch_size"] * run["compute_infer"]["count"] for run in runs) == after["inference_count"]


def test_uint8_is_taken_as_predict_takes_it(client: Any, kind: str):
    result = client.infer(MNIST, [tensor(kind, IMAGES, "UINT8")])
    assert result.as_numpy("radius") == radius(MNIST, IMAGES)


def test_uint8_in_json_nested_or_flat(server: Server):
    described = {"name": "images", "shape": list(IMAGES.shape), "datatype": "UINT8"}
    for data in (IMAGES.tolist(), IMAGES.ravel().tolist()):
        asked = {"inputs": [{**described, "data": data}], "outputs": [{"name": "radius"}]}
        answer = server.json("POST", f"/v2/models/{MNIST}/infer", asked)
        assert answer["outputs"][0]["data"] == radius(MNIST, IMAGES)


def test_compressed_tensors(client: Any, kind: str):
    for name in ("gzip", "deflate"):
        options = {"compression_algorithm": name}
        if kind == "http":
            options = {f"{way}_compression_algorithm": name for way in ("request", "response")}
        result = client.infer(MNIST, [tensor(kind, FLOATS, "FP32")], **options)
        assert result.as_numpy("radius") == radius(MNIST, FLOATS)


def test_what_a_tensor_cannot_be(client: Any, kind: str):
    module = CLIENTS[kind]
    shared = module.InferInput("images", list(FLOATS.shape), "FP32")
    shared.set_shared_memory("mine", FLOATS.nbytes)
    away = module.InferRequestedOutput("logits")
    away.set_shared_memory("mine", 8)
    good = tensor(kind, FLOATS, "FP32")
    for given, outputs, told in (
        (tensor(kind, np.array([b"\x89PNG"], dtype=object), "BYTES"), None, f"/v1/models/{MNIST}/certify"),
        (tensor(kind, FLOATS.astype(np.float64), "FP64"), None, "FP32, in .* or UINT8, got FP64"),
        (shared, None, "the server reads no shared memory"),
        (good, [away], "shared_memory_region is not offered"),
        (good, [module.InferRequestedOutput("logits", class_count=2)], "classification is not offered"),
    ):
        with pytest.raises(InferenceServerException, match=told):
            client.infer(MNIST, [given], outputs=outputs)


def test_asynchronous_requests_and_streams(server: Server):
    with tritonclient.http.InferenceServerClient(server.host) as http:
        result = http.async_infer(MNIST, [tensor("http", FLOATS, "FP32")]).get_result()
    assert result.as_numpy("radius") == radius(MNIST, FLOATS)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc) as rpc:
        rpc.async_infer(MNIST, [tensor("grpc", FLOATS, "FP32")], lambda result, error: answers.put((result, error)))
        assert answers.get(timeout=20)[0].as_numpy("radius") == radius(MNIST, FLOATS)
        rpc.start_stream(lambda result, error: answers.put((result, error)))
        assert "there are no streams" in str(answers.get(timeout=20)[1])
        rpc.stop_stream()


def test_a_message_that_is_none_or_a_bomb_is_the_clients_fault(server: Server):
    """What gzip makes small is measured unpacked, and no traceback of the server's is logged."""
    logged = len(server.log)
    none, bomb = b"\xff" * 100, bytes(44 * 2**20)
    invalid, exhausted = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for data, code in ((none, invalid), (bomb, exhausted), (none, invalid)):  # gRPC itself answers the bomb
            with pytest.raises(grpc.RpcError) as told:
                call(data, compression=grpc.Compression.Gzip)
            assert told.value.code() == code
    server.logged(logged, 2, status=invalid.name)
    assert "error" not in {line["level"] for line in server.log[logged:]}


@pytest.mark.slow
def test_kserves_own_clients(server: Server):
    if find_spec("kserve") is None:  # to import it here would clash with tritonclient
        pytest.skip("kserve has no release for this Python")
    command = [sys.executable, "-m", "tests.kserve_client", server.url, server.grpc, MNIST]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=ROOT)
    health, *answers = (json.loads(line) for line in run.stdout.splitlines())
    assert health == [True] * 6
    assert len(answers) == 8
    for answer in answers:
        assert answer == radius(MNIST, IMAGES)
