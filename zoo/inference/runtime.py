"""A loaded model, in one class for ONNX Runtime and PyTorch. Importing this loads neither."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from zoo.bounds.rounding import check_arithmetic
from zoo.data.datasets import plain_labels
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, IntegrityError, one_line, require
from zoo.files import is_folder
from zoo.inference.images import File, as_batch
from zoo.machine import threads as own_threads
from zoo.publication.folder import Folder, read_folder
from zoo.publication.references import external_files
from zoo.records import NOT_PROVED, Certificate, Evaluation, ModelConfig, Outputs, Prediction, output_names, ranks

if TYPE_CHECKING:
    import onnxruntime
    from PIL.Image import Image

    from zoo.certificate.model import CertifiedModel

CHUNK = 32  # the most images in a request or in a line of results
# Images in one run of a graph. With more, features no longer fit into a core's caches and each image takes longer
# (`python -m benchmarks.graph`); the float64 graph of the widest LiResNet needs about 20 MB for each image.
RUN = 8
PROCESS = os.getpid()  # the process that imported this module; one of another number is its fork

Run = Callable[[np.ndarray], Outputs]  # float32 [N, C, H, W] in [0, 1] to NumPy arrays


class Origin(NamedTuple):
    """Where a model was loaded from, so that another process can load it again."""

    path: Path  # of its folder, absolute
    digest: str  # sha256 of the folder's SHA256SUMS
    options: dict[str, Any]  # for `onnx_model` or `torch_model`


@dataclass(frozen=True, repr=False)
class Model:
    """A classifier that answers with certified radii: in its norm, pixels of [0, 1], at the model's own resolution.

    The radii are proved if `proved` is true; otherwise they are estimates. Any number of threads may call one model. A
    model is pickled as the path of its folder, from which the workers of multiprocessing or joblib load and check it
    again.
    """

    config: ModelConfig
    certificate: Certificate
    evaluation: Evaluation
    precision: str  # "float64" or "float32"
    backend: str  # "onnx" or "torch"
    run: Run = field(compare=False)
    module: CertifiedModel | None = field(default=None, compare=False)  # what PyTorch runs; None for ONNX
    origin: Origin | None = field(default=None, compare=False)  # None if it was not loaded from a folder

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, as people say them: "goldfish" where the folder has "n01443537 goldfish"."""
        return plain_labels(self.config.labels)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.config.input_shape

    @property
    def norm(self) -> str:
        return self.config.norm

    @property
    def proved(self) -> bool:
        return self.precision == "float64"

    def __repr__(self) -> str:
        return f"<zoo.Model {self.name}, {self.backend}, {self.precision}, input {self.input_shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            raise InputError(
                f"{self.name} was not loaded from a folder, so it cannot be pickled: use zoo.load where it is needed"
            )
        return _load_again, (self.backend, self.precision, *self.origin)

    def outputs(self, images: Any) -> Outputs:
        """The five arrays of `Outputs` for one image or a batch, see `images.as_batch` for what is accepted.

        RUN images run at a time, so that only the input and the output need more memory for a larger batch.
        Raises InputError where the images cannot be used, IntegrityError where ONNX Runtime cannot run the graph or its
        answers have the wrong shapes, and CertificateError where the thread's arithmetic, or the module in PyTorch, is
        not what was certified.

        >>> import numpy as np, zoo
        >>> outputs = zoo.load("2c2f-mnist").outputs(np.zeros((5, 1, 28, 28), dtype=np.float32))
        >>> outputs.radius.shape, outputs.class_radii.shape
        ((5,), (5, 10))
        """
        return self._run_in_parts(as_batch(images, self.input_shape)[0])

    @overload
    def predict(self, images: File | Image, epsilon: str | float | None = None) -> Prediction: ...
    @overload
    def predict(self, images: Any, epsilon: str | float | None = None) -> Prediction | list[Prediction]: ...
    def predict(self, images: Any, epsilon: str | float | None = None) -> Prediction | list[Prediction]:
        """One `Prediction` for a single image, a list of them for a batch or a list.

        With an epsilon, a prediction's label is None (abstention) unless its radius is proved and larger.
        Raises InputError, also where the epsilon is no size, and IntegrityError and CertificateError as `outputs` does.

        >>> import numpy as np, zoo
        >>> model, digit = zoo.load("2c2f-mnist"), np.zeros((1, 28, 28), dtype=np.float32)
        >>> digit[0, 4:24, 13:16] = 1  # a stroke from top to bottom
        >>> prediction = model.predict(digit, epsilon="0.3")
        >>> prediction.label, prediction.certified, prediction.radius > 0.3
        ('1', True, True)
        """
        size = None if epsilon is None else parse_epsilon(epsilon)
        batch, single = as_batch(images, self.input_shape)
        predictions = list(self.predictions(self._run_in_parts(batch), size))
        return predictions[0] if single else predictions

    def _run_in_parts(self, batch: np.ndarray) -> Outputs:
        parts = [self.run(batch[start : start + RUN]) for start in range(0, len(batch), RUN)]
        return Outputs(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def predictions(self, outputs: Outputs, epsilon: float | None) -> Iterator[Prediction]:
        """The `Prediction` of each row of the outputs."""
        for row, index in enumerate(outputs.label.tolist()):
            yield Prediction(
                index=index,
                name=self.labels[index],
                radius=float(outputs.radius[row]),
                class_radii=tuple(outputs.class_radii[row].tolist()),
                topk_radius=tuple(outputs.topk_radius[row].tolist()),
                proved=self.proved,
                epsilon=epsilon,
            )


def onnx_model(
    folder: Folder, precision: str, providers: Sequence[str] | None = None, threads: int | None = None
) -> Model:
    """The folder's graph in ONNX Runtime. `threads` compute one run; if it is None, see `zoo.machine`.

    Raises MissingPackageError; InputError where the providers cannot be used; and InputError, IntegrityError and
    CertificateError as `onnx_session` does.
    """
    require("onnx")
    import onnxruntime

    if isinstance(providers, str):
        raise InputError(f"providers is a list of names, such as [{providers!r}], got one name")
    chosen = list(providers or ["CPUExecutionProvider"])
    if precision == "float64" and chosen != ["CPUExecutionProvider"]:
        raise InputError(f"float64 is proved on CPUExecutionProvider only: use precision='float32' on {chosen[0]}")
    available = onnxruntime.get_available_providers()
    if absent := sorted(set(chosen) - set(available)):
        raise InputError(f"this onnxruntime has no {absent[0]}, only {', '.join(available)}")
    session, path = onnx_session(folder, precision, chosen, threads), folder.graph(precision)
    names = [value.name for value in session.get_outputs()]

    def run(images: np.ndarray) -> Outputs:
        check_arithmetic()
        try:
            outputs = Outputs(*session.run(names, {"images": images}))
        except Exception as error:  # as in onnx_session
            raise IntegrityError(f"{path}: onnxruntime cannot run it: {one_line(error)}") from error
        if not _well_formed(outputs, len(images), len(folder.config.labels)):
            raise IntegrityError(f"{path}: its answers have not the shapes or labels that config.json gives")
        return outputs

    return _model(folder, precision, "onnx", run, None, {"providers": providers, "threads": threads})


def torch_model(folder: Folder, precision: str, device: str = "cpu") -> Model:
    """The folder's weights in PyTorch.

    Raises MissingPackageError; and InputError, IntegrityError and CertificateError as `load_module` does.
    """
    require("torch")
    import torch

    from zoo.publication.network import load_module

    module = load_module(folder, precision, device)

    def run(images: np.ndarray) -> Outputs:
        if os.getpid() != PROCESS:  # a fork lacks OpenMP's threads, and would wait for them
            torch.set_num_threads(1)
        with torch.inference_mode():
            return Outputs(*(value.cpu().numpy() for value in module(torch.tensor(images, device=device))))

    return _model(folder, precision, "torch", run, module, {"device": device})


def _model(
    folder: Folder,
    precision: str,
    backend: str,
    run: Run,
    module: CertifiedModel | None,
    options: dict[str, Any],
) -> Model:
    origin = Origin(folder.path.absolute(), folder.digest, options)
    return Model(folder.config, folder.certificate, folder.evaluation, precision, backend, run, module, origin)


def _load_again(backend: str, precision: str, path: Path, digest: str, options: dict[str, Any]) -> Model:
    """The model that was pickled, from its folder. Raises ZooError if the folder is not here, or another one."""
    if not is_folder(path):
        raise InputError(f"no folder {path}: a model travels by its folder, which must lie at this path here too")
    folder = read_folder(path)
    if folder.digest != digest:
        raise IntegrityError(f"{path}: not the files of the model that was sent from there: load it again")
    return {"onnx": onnx_model, "torch": torch_model}[backend](folder, precision, **options)


def onnx_session(
    folder: Folder,
    precision: str,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
) -> onnxruntime.InferenceSession:
    """The graph ready to run; its outputs are the fields of `Outputs` in their order.

    Raises InputError where a provider does not start, IntegrityError where the graph is not what the records say,
    CertificateError where subnormal numbers are flushed: the session would keep weights and threads of that kind.
    """
    import onnxruntime

    check_arithmetic()

    path = folder.graph(precision)
    # The bytes that were checked are the bytes that run: ONNX Runtime gets all files from memory, whatever happens to
    # them on the disk.
    graph, weights = folder.read(path.name), folder.weights()
    try:
        strangers = sorted(external_files(graph) - set(weights))
    except ValueError as error:
        raise IntegrityError(f"{path}: not a graph of this zoo: {error}") from error
    if strangers:
        raise IntegrityError(f"{path}: reads tensors from {strangers[0][:80]!r}, expected the listed weights only")
    options = onnxruntime.SessionOptions()
    options.add_external_initializers_from_files_in_memory(
        list(weights), list(weights.values()), [len(content) for content in weights.values()]
    )
    options.intra_op_num_threads = threads or own_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # silent: what goes wrong is raised below
    if precision == "float64":
        # At this level what follows from the weights is computed once, now. With all optimisations, the default, the
        # answers have the same bits (`tests/test_models.py`).
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        # Without ONNX Runtime's fallback, which would try another provider and print that it does.
        session = onnxruntime.InferenceSession(graph, options, providers=list(providers), enable_fallback=False)
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        inputs = [(value.name, value.type, tuple(value.shape[1:])) for value in session.get_inputs()]
        outputs = [(value.name, value.type) for value in session.get_outputs()]
        inputs += [(value.name, value.type, ()) for value in session.get_overridable_initializers()]
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise IntegrityError(f"{path}: onnxruntime cannot load it: {one_line(error)}") from error
    if missing := sorted(set(providers) - set(session.get_providers())):
        raise InputError(f"{missing[0]} could not start, see `zoo doctor`")
    _check_metadata(path, metadata, folder, precision)
    real = {"float64": "tensor(double)", "float32": "tensor(float)"}[precision]
    answers = [(name, "tensor(int64)" if name == "label" else real) for name in output_names(precision)]
    if outputs != answers:
        raise IntegrityError(f"{path}: answers {outputs}, expected {answers}")
    expected = [("images", "tensor(float)", folder.config.input_shape)]
    if inputs != expected:
        raise IntegrityError(f"{path}: takes {inputs}, expected {expected}")
    return session


def _well_formed(outputs: Outputs, count: int, classes: int) -> bool:
    """Whether the arrays have the shapes of `Outputs` for `count` images, and every label is a class."""
    shapes = [(count, classes), (count,), (count,), (count, classes), (count, ranks(classes))]
    return [np.shape(value) for value in outputs] == shapes and bool(np.isin(outputs.label, range(classes)).all())


def _check_metadata(path: Path, metadata: dict[str, Any], folder: Folder, precision: str) -> None:
    """Raise IntegrityError, naming the field, unless the graph says of itself what the records say."""
    config, certificate = folder.config, folder.certificate
    expected = {
        "name": config.name,
        "norm": config.norm,
        "unit": certificate.unit,
        "dataset": config.dataset,
        "labels": list(config.labels),
        "arithmetic": certificate.arithmetic if precision == "float64" else NOT_PROVED,
        "weights_sha256": certificate.weights_sha256,
        "certificate_sha256": folder.digests["certificate.json"],
    }
    with suppress(ValueError):  # what is not JSON stays a text, which is not the list expected
        metadata["labels"] = json.loads(metadata.get("labels", "null"))
    for key, value in expected.items():
        if metadata.get(key) != value:
            found = f"{str(metadata.get(key))[:60]!r}, expected {str(value)[:60]!r}"
            raise IntegrityError(f"{path}: its metadata give {key} as {found}")
