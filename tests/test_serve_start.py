"""A server that cannot start as it was told says why in one line."""

from __future__ import annotations

import socket

import pytest

from tests.serving import MNIST, ROOT
from zoo.cli.server import serve
from zoo.errors import InputError
from zoo.hub.server import serve_hub


@pytest.mark.parametrize("host", ["a..b", "bücher..", "x" * 80])
def test_a_host_that_is_no_name(host: str):
    with pytest.raises(InputError, match=r"cannot listen on .* port 0: "):
        serve([MNIST], host, 0)
    with pytest.raises(InputError, match="cannot listen on "):
        serve_hub(ROOT / "model_cards", host, 0, None, lambda store, address: None)


def test_an_empty_host_and_equal_ports():
    with pytest.raises(InputError, match="--host is empty"):
        serve([MNIST], "")
    with pytest.raises(InputError, match="--host is empty"):
        serve_hub(ROOT / "model_cards", "", 0, None, lambda store, address: None)
    with pytest.raises(InputError, match="are both 8080"):
        serve([MNIST], port=8080, grpc_port=8080)


def test_a_busy_port_for_grpc(capfd: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: Address already in use"):
            serve([MNIST], port=0, grpc_port=port)
    assert capfd.readouterr().err == ""
