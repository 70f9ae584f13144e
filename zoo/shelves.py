"""Where published folders lie on this machine: in the package, in a checkout, in the cache of the hub's client."""

from __future__ import annotations

from pathlib import Path

from zoo.files import sha256

ORGANISATION = "certified-zoo"  # where registered models that are not shipped lie on a hub; the registry pins them
PACKAGE = Path(__file__).parent
SHELVES = (PACKAGE / "embedded", PACKAGE.parent / "model_cards")  # in an installed package; in a checkout


def shipped(name: str) -> Path | None:
    """The folder of a registered model that came with the zoo, unchecked; None where it did not."""
    return next((shelf / name for shelf in SHELVES if (shelf / name).is_dir()), None)


def is_here(name: str, digest: str) -> bool:
    """Whether a registered model can be loaded without a network: it was shipped, or the cache has what is pinned."""
    if shipped(name) is not None:
        return True
    from huggingface_hub import try_to_load_from_cache

    sums = try_to_load_from_cache(f"{ORGANISATION}/{name}", "SHA256SUMS")
    return isinstance(sums, str) and sha256(Path(sums)) == digest
