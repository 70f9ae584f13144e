"""The commands that move published folders: `zoo pull`, `push`, `sign` and `hub`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from zoo.cli.display import pairs, proof_progress
from zoo.cli.shell import FolderArgument, source_of, token_of
from zoo.errors import require
from zoo.hub import client
from zoo.hub.client import HUB, LOCAL, fetch
from zoo.publication.folder import SIGNATURE

if TYPE_CHECKING:
    from zoo.hub.store import Store


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, local-dir:PATH or hf-hub:ORG/NAME@REVISION.")],
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy it here: a new or empty folder.")] = None,
) -> int:
    """Fetch a published folder and check every byte of it.

    Obeys HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HUB_OFFLINE. Whether its certificate holds is what `zoo verify`
    tells.
    """
    path = client.pull(name, output)
    folder = fetch(f"{LOCAL}{path}")
    rows = [("model", folder.config.name), ("folder", str(path)), ("files", f"{len(folder.files)} checked")]
    if output is None and name.startswith(HUB):
        repository = name.removeprefix(HUB).partition("@")[0]
        rows.append(("pinned", f"{HUB}{repository}@{path.name}"))
    if (path / SIGNATURE).is_file():
        rows.append(("signature", f"{SIGNATURE}, not checked: `zoo verify --public-key` does"))
    Console().print(pairs(rows))
    return 0


def push(
    name: FolderArgument,
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository; made where it is missing.")],
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Also give the commit this tag.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> int:
    """Prove a folder's certificate again, then upload it.

    The upload is one commit. Needs the extra export, and a token of the hub: HF_TOKEN or `hf auth login`. HF_ENDPOINT
    chooses the hub. Nothing is uploaded if a byte, the card or the certificate is not as it should be.
    """
    with proof_progress() as advance:
        pushed = client.push(source_of(name), repository, private, tag, advance)
    Console().print(pairs([("pushed", pushed), *([("tag", tag)] if tag else [])]))
    return 0


def sign(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A published folder.")],
    private_key: Annotated[Path, typer.Option(metavar="FILE", help="An elliptic-curve key in PEM, without password.")],
) -> int:
    """Sign a folder's files with a key of your own, offline.

    Writes model.sig, in the format of OpenSSF model-signing. Needs the extra sign. A pair of keys:

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
    """
    from zoo.publication import signing

    signature = signing.sign(fetch(f"{LOCAL}{folder}"), private_key)
    Console().print(pairs([("signed", str(signature)), ("check", f"zoo verify {folder} --public-key FILE")]))
    return 0


def hub(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of published folders.")],
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0 takes a free one.")] = 8650,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Let who has this token create, upload and tag.")
    ] = None,
) -> int:
    """Serve a folder of published models as a hub.

    For sites without internet access. The stock huggingface_hub client reads it with HF_ENDPOINT set to its address.
    FOLDER/NAME is certified-zoo/NAME, checked at the start; uploads are kept in FOLDER/.hub. Needs the extra hub.
    """
    require("hub")
    from zoo.hub.server import serve_hub

    token = token_of(token_file)

    def started(store: Store, address: str) -> None:
        names = sorted(store.repositories)
        rows = [("hub", f"HF_ENDPOINT={address}"), ("uploads", "with the token" if token else "refused: read-only")]
        Console().print(pairs([*rows, *(("model", f"{HUB}{name}") for name in names)]))

    serve_hub(folder, host, port, token, started)
    return 0
