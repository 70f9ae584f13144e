"""Image classifiers whose answers come with a proof: no perturbation below the certified radius changes the label.

Importing `zoo` loads neither torch nor onnxruntime nor NumPy; each name below loads what it needs when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo.errors import require

if TYPE_CHECKING:
    from zoo.certificate.certify import certify
    from zoo.certificate.model import CertifiedModel
    from zoo.errors import ZooError
    from zoo.hub.client import load, pull, push
    from zoo.inference.runtime import Model
    from zoo.publication.publish import publish
    from zoo.records import Certificate, Evaluation, LayerBound, Prediction
    from zoo.registry import list_models

__version__ = "0.1.0"

_HOMES = {
    "Certificate": "zoo.records",
    "CertifiedModel": "zoo.certificate.model",
    "Evaluation": "zoo.records",
    "LayerBound": "zoo.records",
    "Model": "zoo.inference.runtime",
    "Prediction": "zoo.records",
    "ZooError": "zoo.errors",
    "certify": "zoo.certificate.certify",
    "list_models": "zoo.registry",
    "load": "zoo.hub.client",
    "pull": "zoo.hub.client",
    "publish": "zoo.publication.publish",
    "push": "zoo.hub.client",
}
_NEEDS = {"CertifiedModel": "torch", "certify": "torch", "publish": "export"}  # the extra without which there is none

__all__ = [
    "Certificate",
    "CertifiedModel",
    "Evaluation",
    "LayerBound",
    "Model",
    "Prediction",
    "ZooError",
    "certify",
    "list_models",
    "load",
    "publish",
    "pull",
    "push",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    if name in _NEEDS:
        require(_NEEDS[name])
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
