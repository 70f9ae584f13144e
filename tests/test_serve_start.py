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


def test_a_busy_port_names_the_option_that_chooses_it(capfd: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"^port {port} of 127.0.0.1 is in use: choose another "
        with pytest.raises(InputError, match=f"{told}--grpc-port$"):
            serve([MNIST], port=0, grpc_port=port)
        with pytest.raises(InputError, match=f"{told}--port$"):
            serve([MNIST], port=port)
        with pytest.raises(InputError, match=f"{told}--port$"):
            serve_hub(ROOT / "model_cards", "127.0.0.1", port, None, lambda store, address: None)
    assert capfd.readouterr().err == ""


def test_beside_another_server_the_port_that_moves_both_is_named():
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        port, grpc_port = first.getsockname()[1], second.getsockname()[1]
        with pytest.raises(InputError, match=r"choose another --port$"):
            serve([MNIST], port=port, grpc_port=grpc_port)
