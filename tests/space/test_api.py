"""The named endpoints, asked as a program asks them."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zoo
from space import answers
from tests.space.conftest import SAMPLES, App

COLOUR = "liresnet-l4w32-cifar10-jpeg75"
SHIP = SAMPLES / "ship.png"


@pytest.fixture(scope="module")
def client(app: App, tmp_path_factory: pytest.TempPathFactory) -> Any:
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("files")))


def ask(client: Any, endpoint: str, *arguments: Any) -> Any:
    from gradio_client import handle_file

    sent = [handle_file(str(value)) if isinstance(value, Path) else value for value in arguments]
    return client.predict(*sent, api_name=endpoint)


def test_the_endpoints_are_these(client: Any):
    pytest.importorskip("torch")
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/certify", "/attack", "/models"}


def test_certify_says_what_the_model_says(client: Any):
    answer = ask(client, "/certify", SHIP, COLOUR, "36/255")
    prediction = zoo.load(COLOUR).predict(SHIP, epsilon="36/255")
    assert (answer["label"], answer["radius"], answer["certified"]) == ("ship", prediction.radius, True)
    assert answer["proved"]
    assert answer["norm"] == "l2"
    assert answer["class_radii"]["cat"] == prediction.class_radii[3]
    assert min(answer["class_radii"].values()) == prediction.radius
    assert ask(client, "/certify", SHIP, COLOUR, "2.0")["label"] is None


def test_an_attack_stays_above_0_inside_the_radius(client: Any):
    pytest.importorskip("torch")
    answer = ask(client, "/attack", SHIP, COLOUR, "0.9")
    assert answer["name"] == answer["attacked_name"] == "ship"
    assert answer["radius"] > max(answer["sizes"]) > 0.89
    assert min(answer["margins"]) > 0


def test_visitors_who_attack_at_once_get_what_one_alone_gets(client: Any):
    pytest.importorskip("torch")
    alone = ask(client, "/attack", SHIP, COLOUR, "0.5")
    with ThreadPoolExecutor(4) as visitors:
        calls = [visitors.submit(ask, client, "/attack", SHIP, COLOUR, "0.5") for _ in range(4)]
        assert [call.result() for call in calls] == [alone] * 4


def test_models_are_the_published_ones(client: Any):
    records = ask(client, "/models")
    assert [record["name"] for record in records] == answers.names()
    assert all(record["parameters"] > 10_000 and record["vra"] for record in records)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SHIP, COLOUR, "-1"), "epsilon must be"),
        ((SHIP, COLOUR, "one"), "epsilon must be"),
        ((None, COLOUR, "1"), "no picture yet"),
        ((SHIP, "local-dir:/tmp", "1"), "local-dir:/tmp"),
        ((Path(__file__), COLOUR, "1"), "test_api.py: not a PNG, JPEG or WebP image"),
    ],
)
def test_mistakes_are_told_in_a_line(client: Any, arguments: tuple[Any, ...], message: str):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=message) as caught:
        ask(client, "/certify", *arguments)
    assert "Traceback" not in str(caught.value)
    assert ask(client, "/certify", SHIP, COLOUR, "0")["certified"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ({"path": str(SHIP)}, ""),
        ({"path": str(SHIP), "meta": {"_type": "gradio.FileData"}}, ""),
        ({"path": "ship.png", "meta": {"_type": "gradio.FileData"}}, ""),
        ({"path": "http://192.0.2.1/ship.png", "meta": {"_type": "gradio.FileData"}}, "the picture was not uploaded"),
    ],
)
def test_a_file_of_the_server_or_of_another_is_no_upload(app: App, path: dict[str, Any], message: str):
    """A picture asked for by its path on the server or by its URL is refused, and nothing is fetched."""
    body = json.dumps({"data": [path, COLOUR, "1"]}).encode()
    call = f"{app.url}gradio_api/call/certify"
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as response:
        answer = response.read().decode()
    assert "event: error" in answer
    assert message in answer
    assert "radius" not in answer
    assert str(Path.cwd()) not in answer  # where the server lives is nobody's business


def test_a_filter_that_is_no_longer_offered_is_no_error(app: App):
    """A page may send its filters twice, the second time as they were before the first answer."""
    with urllib.request.urlopen(f"{app.url}config") as response:
        config = json.load(response)
    places = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    filters = [places[name] for name in ("dataset", "norm", "size")]
    function = next(call["id"] for call in config["dependencies"] if call["inputs"] == filters)
    for _ in range(2):
        message = queued(app, function, ["mnist", "l2", "36/255"], "twice")
        assert message["success"], message
    message = queued(app, function, ["no data set", "l2", "36/255"], "twice")
    assert message["output"]["error"].startswith("no model here was measured on this data set")


def queued(app: App, function: int, data: list[Any], session: str) -> dict[str, Any]:
    """What the queue answers to a page of this session."""
    body = json.dumps({"data": data, "fn_index": function, "session_hash": session}).encode()
    request = urllib.request.Request(f"{app.url}gradio_api/queue/join", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()
    with urllib.request.urlopen(f"{app.url}gradio_api/queue/data?session_hash={session}") as stream:
        messages = [json.loads(line.removeprefix(b"data: ")) for line in stream if line.startswith(b"data: ")]
    return next(message for message in messages if message["msg"] == "process_completed")
