"""The server answers real clients: huggingface_hub, tritonclient over HTTP and gRPC, curl, schemathesis."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from huggingface_hub import InferenceClient
from PIL import Image

import zoo
from tests.serving import CIFAR, MNIST, Server
from zoo.data import samples


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    samples.draw(folder)
    return folder


def same(radius: float) -> object:
    """The radius, but for the order in which another batch or number of threads adds."""
    return pytest.approx(radius, rel=1e-9)


def test_the_stock_hugging_face_client(server: Server, pictures: Path):
    client = InferenceClient(model=f"{server.url}/models/{CIFAR}")
    path = pictures / "truck.png"
    expected = zoo.load(CIFAR).predict(path)
    answers = client.image_classification(str(path))
    assert len(answers) == 5
    assert answers[0].label == expected.name
    assert answers[0].certified_radius == same(expected.radius)
    assert answers[0].epsilon == 36 / 255
    assert answers[0].certified is (expected.radius > 36 / 255)
    assert [answer.certified_radius for answer in answers[1:]] == [0.0] * 4
    assert not any(answer.certified for answer in answers[1:])
    assert sorted((answer.score for answer in answers), reverse=True) == [answer.score for answer in answers]
    # Bytes have no Content-Type; with parameters the client sends JSON.
    assert client.image_classification(path.read_bytes())[0] == answers[0]
    assert client.image_classification(str(path), top_k=2) == answers[:2]
    scores = client.image_classification(str(path), top_k=10, function_to_apply="none")
    logits = zoo.load(CIFAR).outputs(path).logits[0]
    assert [score.score for score in scores] == pytest.approx(sorted(logits, reverse=True))
    stricter = InferenceClient(model=f"{server.url}/models/{CIFAR}?epsilon=0.99")
    assert stricter.image_classification(str(path))[0].certified is False


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritonclient_over_http(server: Server, binary: bool):
    with tritonclient.http.InferenceServerClient(server.host) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(CIFAR)
        assert client.is_model_ready(CIFAR, "1")
        told = client.get_model_metadata(CIFAR)
        assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]
        images = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
        tensor = tritonclient.http.InferInput("images", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=binary)
        asked = [tritonclient.http.InferRequestedOutput(value["name"], binary) for value in told["outputs"]]
        result = client.infer(CIFAR, [tensor], outputs=asked, request_id="mine")
        everything = client.infer(CIFAR, [tensor], model_version="1")
    expected = zoo.load(CIFAR).outputs(images)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["parameters"]["model_digest"] == zoo.load(CIFAR).evaluation.graph_sha256
    largest = np.finfo(np.float64).max  # JSON has no infinity
    for name, value in expected._asdict().items():
        finite = value if binary else np.minimum(value, largest)
        np.testing.assert_allclose(result.as_numpy(name), finite, rtol=1e-9)
        np.testing.assert_allclose(everything.as_numpy(name), value, rtol=1e-9)


def test_tritonclient_over_grpc(server: Server):
    logged = len(server.log)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(MNIST)
        assert client.get_server_metadata().name == "certified-zoo"
        assert list(client.get_model_metadata(MNIST).inputs[0].shape) == [-1, 1, 28, 28]
        images = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
        tensor = tritonclient.grpc.InferInput("images", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images)
        expected = zoo.load(MNIST).outputs(images)
        result = client.infer(MNIST, [tensor], request_id="mine")
        for name, value in expected._asdict().items():
            np.testing.assert_allclose(result.as_numpy(name), value, rtol=1e-9)
        response = result.get_response()
        assert response.id == "mine"
        assert response.parameters["model_digest"].string_param == zoo.load(MNIST).evaluation.graph_sha256
        one = client.infer(MNIST, [tensor], outputs=[tritonclient.grpc.InferRequestedOutput("radius")])
        assert [output.name for output in one.get_response().outputs] == ["radius"]
        for name, values, code in (
            (MNIST, images * np.nan, "INVALID_ARGUMENT"),
            (MNIST, images[:, :, :27], "INVALID_ARGUMENT"),
            ("nothing", images, "NOT_FOUND"),
        ):
            wrong = tritonclient.grpc.InferInput("images", list(values.shape), "FP32")
            wrong.set_data_from_numpy(values)
            with pytest.raises(tritonclient.grpc.InferenceServerException) as told:
                client.infer(name, [wrong])
            assert told.value.status() == f"StatusCode.{code}"
    assert {line["level"] for line in server.logged(logged, 10, event="grpc")} == {"info"}


def test_certify_takes_the_file_or_base64(server: Server, pictures: Path):
    data = (pictures / "digit-3.png").read_bytes()
    expected = zoo.load(MNIST).predict(data, "0.3")
    status, headers, body = server.request("POST", f"/v1/models/{MNIST}/certify?epsilon=0.3", data)
    answer = json.loads(body)
    assert status == 200
    assert (answer["label"], answer["certified"], answer["abstained"]) == ("3", True, False)
    assert answer["radius"] == same(expected.radius)
    assert answer["class_radii"][3] is None
    assert [value for value in answer["class_radii"] if value is not None] == [
        same(value) for value in expected.class_radii if value < np.inf
    ]
    digest = zoo.load(MNIST).evaluation.graph_sha256
    assert (answer["model_digest"], headers["x-model-digest"]) == (digest, f"sha256:{digest}")
    image = base64.b64encode(data).decode()
    path = f"/v1/models/{MNIST}/certify"
    assert server.json("POST", path, {"image": image, "epsilon": "0.3"}) == answer
    assert server.json("POST", path, {"image": image, "epsilon": 0.3}) == answer
    unasked = server.json("POST", path, {"image": image})
    assert (unasked["label"], unasked["epsilon"], unasked["certified"]) == ("3", None, None)


def test_certify_abstains(server: Server, pictures: Path):
    data = (pictures / "digit-3.png").read_bytes()
    answer = json.loads(server.request("POST", f"/v1/models/{MNIST}/certify?epsilon=2", data)[2])
    assert (answer["label"], answer["abstained"], answer["certified"], answer["name"]) == (None, True, False, "3")


@pytest.mark.parametrize("route", ["certify", "Hugging Face"])
def test_an_epsilon_is_what_was_asked_or_refused(server: Server, pictures: Path, route: str):
    data = (pictures / "digit-3.png").read_bytes()
    text = base64.b64encode(data).decode()
    path = f"/v1/models/{MNIST}/certify" if route == "certify" else f"/models/{MNIST}"

    def ask(query: str, epsilon: object) -> tuple[int, dict]:
        body = {"image": text, "epsilon": epsilon} if route == "certify" else {"inputs": text}
        body |= {} if route == "certify" else {"parameters": {"epsilon": epsilon}}
        headers = {"Content-Type": "application/json"}
        status, _, answer = server.request("POST", path + query, json.dumps(body).encode(), headers)
        told = json.loads(answer)
        return status, told[0] if isinstance(told, list) else told

    for given, size in ((0, 0.0), (0.0, 0.0), ("0", 0.0), (1, 1.0), ("36/255", 36 / 255)):
        status, answer = ask("", given)
        assert (status, answer["epsilon"]) == (200, size)
    assert ask("?epsilon=0", 0.5)[1]["epsilon"] == 0.0  # the address goes before the body
    for given in ("", True, [], {}, "-1", "x"):
        status, answer = ask("", given)
        assert status == 400
        assert answer["error"].startswith("epsilon must be ")
    assert ask("?epsilon=", None)[0] == 400
    for other in ("?eps=5", "?epsilon=0.3&epsilon=5", "?epsilon=0.3&top_k=2"):  # never answered at another epsilon
        assert ask(other, None)[0] == 400


def test_curl(server: Server, pictures: Path):
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--fail-with-body", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, cwd=pictures).stdout

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    lines = [shlex.split(line)[1:] for line in readme.splitlines() if line.startswith("curl ")]
    assert lines
    for line in lines:
        answer = json.loads(curl(*(word.replace("http://127.0.0.1:8080", server.url) for word in line)))
        assert (answer["label"], answer["certified"]) == ("3", True)
    url = f"{server.url}/v1/models/{MNIST}/certify?epsilon=0.3"
    assert json.loads(curl(url, "--data-binary", f"@{pictures / 'digit-3.png'}"))["label"] == "3"
    assert json.loads(curl(url, "--upload-file", str(pictures / "digit-3.png"), "-X", "POST"))["label"] == "3"
    assert json.loads(curl(f"{server.url}/v2/health/ready")) == {"ready": True}


def test_models_are_listed_with_their_cards_numbers(server: Server):
    models = server.json("GET", "/v1/models")["models"]
    assert [model["name"] for model in models] == [MNIST, CIFAR]
    for model in models:
        measured = zoo.load(model["name"]).evaluation
        assert model["clean_accuracy"] == measured.clean_accuracy
        assert model["vra"] == measured.vra
        assert model["acr"] == measured.acr
    details = server.json("GET", f"/v1/models/{CIFAR}")
    assert details["labels"] == list(zoo.load(CIFAR).labels)
    assert details["claim"] == zoo.load(CIFAR).certificate.claim
    assert server.json("GET", "/v2/models") == {"models": [MNIST, CIFAR]}


def test_the_documents_need_no_other_host(server: Server):
    page = server.request("GET", "/docs")[2].decode()
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page) + re.findall(r"url: '([^']+)'", page)
    assert len(sources) >= 4
    for source in sources:
        assert source.startswith("/")
        assert server.request("GET", source)[0] == 200
    assert "://" not in re.sub(r"window\.location\.\w+", "", page)


def test_every_example_of_the_documents_runs(server: Server):
    """As the page /docs sends it at a press of its button."""
    document, ran = server.json("GET", "/openapi.json"), 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            filled, query = path, []
            for parameter in operation.get("parameters", ()):
                (example,) = parameter["schema"]["examples"]
                filled = filled.replace(f"{{{parameter['name']}}}", example)
                query += [f"{parameter['name']}={example}"] * (parameter["in"] == "query")
            content = operation.get("requestBody", {}).get("content", {})
            examples = [(kind, told["example"]) for kind, told in content.items() if "example" in told]
            assert bool(examples) == bool(content)
            for kind, example in examples or [("application/json", None)]:
                body = None if example is None else json.dumps(example).encode()
                where = "?".join([filled, *query])
                assert server.request(method.upper(), where, body, {"Content-Type": kind})[0] == 200, where
                ran += 1
    assert ran >= 15


def test_metrics(server: Server, pictures: Path):
    def value(name: str) -> float:
        match = re.search(rf"^{re.escape(name)} (\S+)$", server.request("GET", "/metrics")[2].decode(), re.MULTILINE)
        return float(match[1]) if match else 0.0

    model = f'{{model="{MNIST}"}}'
    seconds = 'zoo_request_seconds_count{route="/v1/models/{name}/certify"}'
    names = [f"zoo_images_total{model}", f"zoo_certified_images_total{model}", f"zoo_batch_images_sum{model}", seconds]
    before = [value(name) for name in names]
    for epsilon in ("0.3", "3"):
        server.request("POST", f"/v1/models/{MNIST}/certify?epsilon={epsilon}", (pictures / "digit-3.png").read_bytes())
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [2, 1, 2, 2]
    assert value(f"zoo_queue_images{model}") == 0


def test_request_ids_and_the_log(server: Server):
    given = server.request("GET", "/v2/health/live", headers={"X-Request-Id": "my-own.7"})[1]["x-request-id"]
    assert given == "my-own.7"
    status, headers, body = server.request("GET", "/nothing", headers={"X-Request-Id": "two words"})
    assert (status, json.loads(body)["request_id"]) == (404, headers["x-request-id"])
    assert headers["x-request-id"] != "two words"
    found = server.logged(request_id="my-own.7")
    assert [(line["method"], line["path"], line["status"]) for line in found] == [("GET", "/v2/health/live", 200)]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_the_rules_for_pictures_hold_over_http(server: Server):
    for image, kind, told in (
        (Image.new("CMYK", (28, 28)), "JPEG", "CMYK"),
        (Image.new("RGBA", (28, 28)), "PNG", "transparent"),
        (Image.new("I;16", (28, 28)), "PNG", "16 bits"),
        (Image.new("L", (9000, 9000)), "PNG", "9000 x 9000 pixels"),
        (Image.new("L", (28, 28)), "BMP", "not a PNG, JPEG or WebP"),
    ):
        status, _, body = server.request("POST", f"/v1/models/{MNIST}/certify", encoded(image, kind))
        assert status == 400
        assert told in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "pixels"}, "expected one input, images"),
        ({"datatype": "FP64"}, "FP32, in [0, 1], or UINT8, got FP64"),
        ({"shape": [1, 28, 28, 1]}, "shape"),
        ({"shape": [33, 1, 28, 28]}, "N from 1 to 32"),
        ({"shape": [1, 1, 28, 28, 1]}, "shape"),
        ({"data": [0.5] * 783}, "cannot be read"),
        ({"data": [1.5] * 784}, "up to 1.5"),
        ({"data": ["a"] * 784}, "cannot be read"),
        ({"data": None}, "cannot be read"),
        ({"data": [[0.5] * 28] * 27 + [[0.5]]}, "cannot be read"),
        ({"data": [0.5] * 783 + [1e300]}, "NaN or infinity"),
        ({"datatype": "UINT8", "data": [255] * 783 + [256]}, "between 0 and 255"),
        ({"datatype": "UINT8", "data": [0.5] * 784}, "UINT8"),
        ({"datatype": "BYTES", "data": ["x"] * 784}, f"goes to /v1/models/{MNIST}/certify"),
        ({"shape": "1"}, "inputs.0.shape: Input should be a valid array"),
        ({"shape": [[1], 1, 28, 28]}, "inputs.0.shape.0: Input should be a valid integer"),
        ({"shape": [True, 1, 28, 28]}, "inputs.0.shape.0: Input should be a valid integer"),
        ({"parameters": {"binary_data_size": 10**12}}, "binary_data_size"),
        ({"parameters": {"binary_data_size": "x"}}, "binary_data_size"),
        ({"parameters": 5}, "not an inference request"),
    ],
)
def test_a_wrong_tensor_is_refused_with_the_reason(server: Server, change: dict, told: str):
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0.5] * 784, **change}
    status, _, body = server.request("POST", f"/v2/models/{MNIST}/infer", json.dumps({"inputs": [tensor]}).encode())
    assert status == 400
    assert told in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ([{"name": "nothing"}], "no output is called 'nothing'"),
        ([{"name": ["radius"]}], "outputs.0.name: Input should be a valid string"),
        ([{"name": {}}], "outputs.0.name: Input should be a valid string"),
        ([{"name": "radius", "parameters": 5}], "outputs.0.parameters: Input should be an object"),
        (
            [{"name": "radius", "parameters": ["binary_data"]}],
            "outputs.0.parameters: Input should be an object",
        ),
        ([{"name": "logits", "parameters": {"classification": 2}}], "classification is not offered"),
        ("radius", "not an inference request"),
        ({"name": "radius"}, "not an inference request"),
    ],
)
def test_a_wrong_output_is_refused_with_the_reason(server: Server, outputs: object, told: str):
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0.5] * 784}
    body = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    status, _, answer = server.request("POST", f"/v2/models/{MNIST}/infer", body)
    assert (status, told in json.loads(answer)["error"]) == (400, True)


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: Server, tmp_path: Path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.name" = "{MNIST}"\n')
    # positive_data_acceptance is left out: no schema can say that a string is a picture.
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{server.url}/openapi.json", "--exclude-checks", "positive_data_acceptance", "--seed", "1"),
        *("--max-examples", "5", "--phases", "coverage,fuzzing", "--suppress-health-check", "all", "--no-color"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-6000:]
