"""What `deploy/` says of the server is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from zoo.registry import ENTRIES

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_the_service_starts_published_models_and_asks_for_routes_that_there_are():
    container, triton = (
        document["spec"]["predictor"] for document in yaml.safe_load_all((DEPLOY / "kserve.yaml").read_text())
    )
    container = container["containers"][0]
    names = [argument for argument in container["args"] if argument in ENTRIES]
    assert names
    assert all(ENTRIES[name].digest for name in names)
    source = (DEPLOY.parent / "zoo" / "serve" / "inference.py").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f'@app.get("{container[probe]["httpGet"]["path"]}"' in source
    assert triton["model"]["protocolVersion"] == "v2"


def test_kserve_knows_every_field():
    wrong = "spec: {predictor: {containers: [{image: x, imge: y}], minReplica: 1}}"
    command = [sys.executable, "-m", "tests.kserve_fields"]  # its gRPC messages and tritonclient's share names
    text = f"{(DEPLOY / 'kserve.yaml').read_text()}\n---\n{wrong}"
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=DEPLOY.parent).stdout
    assert found.split() == [".spec.predictor.containers[0].imge", ".spec.predictor.minReplica"]


def test_the_image_installs_what_the_wheel_needs_and_serves_published_models():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in shlex.split(line)[1:-1]}
    (command,) = (line for line in lines if line.startswith("CMD"))
    names = re.findall(r'"([^"]+)"', command)
    folders = {f"model_cards/{name}" for name in names}
    assert {"pyproject.toml", "README.md", "LICENSE", "zoo"} | folders <= copied
    assert all(ENTRIES[name].digest for name in names)
    text = (DEPLOY.parent / "pyproject.toml").read_text()
    assert {line.split('"')[1] for line in text.splitlines() if line.startswith('"model_cards/')} == folders
