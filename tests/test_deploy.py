"""What `deploy/` says of the server is so."""

from __future__ import annotations

import re
import shlex
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
    source = (DEPLOY.parent / "zoo" / "serve" / "app.py").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f'@app.get("{container[probe]["httpGet"]["path"]}"' in source
    assert triton["model"]["protocolVersion"] == "v2"


def test_the_image_installs_what_the_wheel_needs_and_serves_published_models():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in shlex.split(line)[1:-1]}
    assert {"pyproject.toml", "README.md", "LICENSE", "zoo", "model_cards"} <= copied
    (command,) = (line for line in lines if line.startswith("CMD"))
    assert all(ENTRIES[name].digest for name in re.findall(r'"([^"]+)"', command))
