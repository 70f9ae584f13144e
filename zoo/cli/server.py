"""The command `zoo serve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.display import printable
from zoo.cli.shell import token_of
from zoo.errors import InputError, require
from zoo.hub.client import HUB, LOCAL, fetch


def serve(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Models, each as for predict.")],
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="For HTTP; 0 takes a free one.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(metavar="P", min=0, max=65535, help="For gRPC; the next after --port if not given.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer only who has the token in FILE, or else in ZOO_TOKEN.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="For a header to arrive, for a body, for an answer.")
    ] = 30.0,
    queue: Annotated[int, typer.Option(metavar="N", min=1, help="Requests that may wait; more get 429.")] = 128,
) -> int:
    """Answer over HTTP and gRPC, with certificates.

    Speaks the Open Inference Protocol v2, Hugging Face's image classification and a plain certify route; the page
    /docs shows them. SIGTERM ends it after the last accepted request is answered.
    """
    token = token_of(token_file, "ZOO_TOKEN")
    if not 0.01 <= timeout <= 86_400:  # not even a NaN passes
        raise InputError(f"--timeout is 0.01 to 86400 seconds, got {timeout}")
    if grpc_port is None:
        grpc_port = min(port + 1, 65535) if port else 0
    if port and port == grpc_port:
        raise InputError(f"--port and --grpc-port are both {port}: give two different ones")
    for name in names:
        if not name.startswith((LOCAL, HUB)):
            fetch(name)  # a mistake here should not wait for the port
    require("serve")
    from zoo.serve.server import run_server, serve_models
    from zoo.serve.service import Limits

    def announce(models: Sequence[str], url: str, grpc: str) -> None:
        for name in models:
            typer.echo(printable(f"{name}: {url}/v1/models/{name}/certify"))
        typer.echo(f"documents {url}/docs, metrics {url}/metrics, gRPC {grpc}")
        sys.stdout.flush()

    run_server(serve_models(names, host, port, grpc_port, token, Limits(timeout, queue), announce))
    return 0
