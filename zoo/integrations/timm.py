"""timm knows the architectures of the zoo once this module is imported: `import zoo.integrations.timm`.

    timm.create_model("liresnet_l12w512", num_classes=100)                      # untrained, its radius unknown
    timm.create_model("2c2f.mnist", pretrained=True)                            # published with the zoo
    timm.create_model("2c2f", pretrained=True, pretrained_cfg_overlay=dict(file=FOLDER))
    timm.create_model("2c2f", pretrained=True, pretrained_cfg_overlay=dict(hf_hub_id="org/name@revision"))

Pretrained weights come from a published folder, which is checked as `zoo.load` checks it, together with its
certificate. What timm gets is the plain float32 network: it answers logits and **no radius**, its arithmetic is not the
certified one, and once its weights or its head are changed the certificate speaks of another network. For radii use
`zoo.load`. Images are in [0, 1]: the networks normalise them inside, so `mean` is 0 and `std` is 1.

timm's own prefixes `local-dir:` and `hf-hub:` cannot load a published folder: timm reads `config.json` itself and
expects one word as its `architecture`. `checkpoint_path="FOLDER/model.safetensors"` works if the weights are in one
file, and checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._builder import resolve_pretrained_cfg
from torch import nn

from zoo.architectures import NETWORKS, Architecture
from zoo.errors import InputError, UnpublishedModelError
from zoo.hub.client import HUB, LOCAL, fetch
from zoo.publication.network import load_module
from zoo.registry import ENTRIES, Entry
from zoo.shelves import ORGANISATION

OPTIONS = {"num_classes": "classes", "in_chans": "channels", "img_size": "input_size"}  # timm's words and ours


def _default_cfg(architecture: Architecture, **more: Any) -> dict[str, Any]:
    channels = architecture.input_shape[0]
    return {
        "input_size": architecture.input_shape,
        "num_classes": architecture.classes,
        "fixed_input_size": True,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "classifier": "head",
        **more,
    }


def _name(prefix: str) -> str:
    return prefix.replace("-", "_")


def _published() -> dict[str, Entry]:
    """Each model with published weights by `architecture.tag`; the tag names its data."""
    found = {}
    for entry in ENTRIES.values():
        if entry.digest:
            tag = entry.name.removeprefix(f"{entry.network}-")
            found[f"{_name(entry.network)}.{_name(tag)}"] = entry
    return found


TAGS = _published()
default_cfgs = generate_default_cfgs(
    {
        **{_name(prefix): _default_cfg(architecture) for prefix, architecture in NETWORKS.items()},
        **{
            tag: _default_cfg(entry.architecture, hf_hub_id=f"{ORGANISATION}/{entry.name}")
            for tag, entry in TAGS.items()
        },
    }
)


def _entrypoint(prefix: str) -> Callable[..., nn.Sequential]:
    """The function that timm calls to make this architecture."""

    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        **options: Any,
    ) -> nn.Sequential:
        cfg = resolve_pretrained_cfg(_name(prefix), pretrained_cfg, pretrained_cfg_overlay)
        sizes = _sizes(prefix, options)
        if pretrained:
            network = _certified(prefix, cfg, cache_dir, sizes)
        else:
            tagged = TAGS.get(f"{_name(prefix)}.{cfg.tag}")
            network = replace(tagged.architecture if tagged else NETWORKS[prefix], **sizes).network()
        network.pretrained_cfg = network.default_cfg = cfg.to_dict()  # type: ignore[assignment]  where timm looks
        network.num_classes = network.head.out_features  # type: ignore[assignment,union-attr]
        return network

    create.__name__ = create.__qualname__ = _name(prefix)
    create.__doc__ = f"The plain network of {prefix}, see `zoo.integrations.timm`."
    return create


def _sizes(prefix: str, options: dict[str, Any]) -> dict[str, int]:
    """timm's options in the zoo's words. Raises InputError."""
    taken = {field.name for field in fields(NETWORKS[prefix])}  # the network of two moons takes no size
    words = {option: size for option, size in OPTIONS.items() if size in taken}
    if unknown := sorted(set(options) - set(words)):
        raise InputError(f"{_name(prefix)} takes {', '.join(words) or 'no options'}, got {unknown[0]!r}")
    return {words[option]: value for option, value in options.items()}


def _certified(prefix: str, cfg: Any, cache_dir: str | Path | None, sizes: dict[str, int]) -> nn.Sequential:
    """The network of a published folder of this architecture, trainable. Raises ZooError."""
    names = {f"{ORGANISATION}/{entry.name}": entry.name for entry in TAGS.values()}
    if cfg.file:
        source = f"{LOCAL}{cfg.file}"
    elif cfg.hf_hub_id:
        source = names.get(cfg.hf_hub_id, f"{HUB}{cfg.hf_hub_id}")
    else:
        raise UnpublishedModelError(
            f"{_name(prefix)} has no published weights: `zoo list '{prefix}-*'` shows its models, "
            "and the folder of a trained one is named by pretrained_cfg_overlay=dict(file=FOLDER)"
        )
    folder = fetch(source, cache_dir=cache_dir if source.startswith(HUB) else None)
    found = asdict(folder.architecture)
    same = type(folder.architecture) is type(NETWORKS[prefix]) and all(
        found[field] == value
        for field, value in asdict(NETWORKS[prefix]).items()
        if field not in (*OPTIONS.values(), "features")
    )
    if not same:
        raise InputError(f"{source} is {folder.config.architecture}, no {prefix}")
    for field, value in sizes.items():
        if found[field] != value:
            raise InputError(
                f"{source} has {field} {found[field]}, asked for {value}: its certificate allows no change"
            )
    return load_module(folder).network.requires_grad_(True).train()


for _prefix in NETWORKS:
    register_model(_entrypoint(_prefix))
