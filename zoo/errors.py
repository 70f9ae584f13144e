"""The errors of the zoo. Each message is one line: what was wrong, what was expected, what to do.

    ZooError
    +-- UncertifiableLayerError   no rule proves a bound for this layer, or for this option of it
    +-- CertificateError          a certificate is missing, malformed, or does not hold for its weights
    +-- IntegrityError            a file is missing, or its bytes are not those that its folder lists
    +-- UnknownModelError         no registered model has this name
    +-- UnpublishedModelError     the model is registered, but nobody has published weights for it
    +-- HubError                  a Hugging Face repository does not exist, or cannot be reached
    +-- InputError                an image, array, epsilon, dataset or option cannot be used as it was given
    +-- MissingPackageError       an optional package is needed; the message names the extra

Catch `ZooError` to catch them all; the command line turns each into one line and exit code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec


class ZooError(Exception):
    """A mistake that a user can mend, in one line."""


class UncertifiableLayerError(ZooError):
    """No rule proves a Lipschitz bound for this layer, or for one of its options."""


class CertificateError(ZooError):
    """A certificate is missing, malformed, or does not hold for the weights beside it."""


class IntegrityError(ZooError):
    """A file of a published folder is missing, or its bytes are not the listed ones."""


class UnknownModelError(ZooError):
    """No registered model has this name."""


class UnpublishedModelError(ZooError):
    """The model is registered, but no weights have been published for it."""


class HubError(ZooError):
    """A Hugging Face repository does not exist, or cannot be reached."""


class InputError(ZooError):
    """An image, an array, an epsilon, a dataset or an option cannot be used as it was given."""


class MissingPackageError(ZooError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str):
        super().__init__(package, extra)  # with these pickle makes the error again in another process

    def __str__(self) -> str:
        package, extra = self.args
        return f"this needs {package}: run pip install -e '.[{extra}]' in a checkout"


# For each extra the packages without which its commands do not work, as they are imported and in the order in which a
# missing one is named. Beside these an extra brings what is asked for when it is used (tensorboard), what the code does
# without (uvloop), and, in `export`, what only `python -m export` needs, which asks for the extra `train` as well.
PACKAGES = {
    "onnx": ("onnxruntime",),
    "torch": ("torch", "safetensors"),
    "data": ("pyarrow",),
    "train": ("torch", "safetensors", "accelerate", "matplotlib", "timm", "tqdm"),
    "export": ("torch", "safetensors", "onnxruntime", "onnx"),
    "serve": (
        *("onnxruntime", "fastapi_offline", "httptools", "orjson", "prometheus_client", "python_multipart"),
        *("tritonclient", "grpc", "uvicorn"),
    ),
    "hub": ("httptools", "starlette", "uvicorn"),
    "sign": ("model_signing", "OpenSSL"),
}


def require(extra: str) -> None:
    """Raise MissingPackageError for the first package of the extra that cannot be imported; it imports none."""
    for package in PACKAGES[extra]:
        if find_spec(package) is None:
            raise MissingPackageError(package, extra)


def one_line(error: BaseException) -> str:
    """The first line of another library's error, at most 200 characters, or its class where it says nothing."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= 200 else f"{line[:199]}…"


def near(name: str, names: Iterable[str]) -> list[str]:
    """The names that are nearest to this one in any case, at most three, the nearest first: what was perhaps meant."""
    lowered = {other.lower(): other for other in names}
    return [lowered[match] for match in get_close_matches(name[:100].lower(), lowered, n=3, cutoff=0.5)]
