"""Where published folders lie on this machine: in the package, in a checkout, in the cache of the hub's client."""

from __future__ import annotations

from pathlib import Path

from zoo.files import sha256

ORGANISATION = "certified-zoo"  # on a hub, the owner of registered models; the registry pins their bytes
PACKAGE = Path(__file__).parent
SHELVES = (PACKAGE / "embedded", PACKAGE.parent / "model_cards")  # in an installed package; in a checkout


def shipped(name: str) -> Path | None:
    """The folder of a registered model that came with the zoo, not checked yet; None where none came."""
    return next((shelf / name for shelf in SHELVES if (shelf / name).is_dir()), None)


def is_here(name: str, digest: str) -> bool:
    """Whether a registered model loads offline: it came with the zoo, or the cache has the pinned folder."""
    if shipped(name) is not None:
        return True
    from huggingface_hub import try_to_load_from_cache

    sums = try_to_load_from_cache(f"{ORGANISATION}/{name}", "SHA256SUMS")
    return isinstance(sums, str) and sha256(Path(sums)) == digest
