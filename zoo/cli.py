"""The command `zoo`. What needs NumPy, onnxruntime or torch is imported inside the commands that need it.

Exit codes: 0 done; 1 a check failed (`verify` found a difference, `doctor` a problem); 2 a mistake, told in one line.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperArgument, TyperCommand

from zoo import __version__, cli_hub
from zoo.architectures import describe
from zoo.datasets import DATASETS
from zoo.display import bound_text, pairs, progress, proof_progress
from zoo.epsilon import parse_epsilon
from zoo.errors import (
    CertificateError,
    InputError,
    IntegrityError,
    MissingPackageError,
    UncertifiableLayerError,
    UnpublishedModelError,
    ZooError,
    require,
)
from zoo.folder import Folder, exists, is_folder
from zoo.hub import HUB, LOCAL, fetch, load
from zoo.records import Evaluation, Prediction, dumps
from zoo.registry import ENTRIES, Entry, find, list_models
from zoo.tables import (
    abstention_line,
    entry_pairs,
    evaluation_pairs,
    evaluation_table,
    folder_pairs,
    layer_table,
    prediction_table,
    published_table,
    shape_table,
    top_k_table,
    unit_line,
    unpublished_table,
)

if TYPE_CHECKING:
    from zoo.runtime import Model

INTERRUPTED = 130  # 128 + SIGINT, as shells count
READER_LEFT = 141  # 128 + SIGPIPE


class Command(TyperCommand):
    """A command whose help names its arguments by their metavars alone, without types and doubled brackets."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(name if required else f"[{name}]" for name, required, _ in self._arguments(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments = [(name, text) for name, _, text in self._arguments(ctx)]
        parameters = (parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "option")
        options = [record for parameter in parameters if (record := parameter.get_help_record(ctx))]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _arguments(self, ctx: Any) -> list[tuple[str, bool, str]]:
        """Name, whether it must be given, and help of each argument."""
        return [
            (
                f"{parameter.metavar or parameter.name}{'...' * (parameter.nargs != 1)}",
                parameter.required,
                (parameter.get_help_record(ctx) or ("", ""))[1],
            )
            for parameter in self.get_params(ctx)
            if isinstance(parameter, TyperArgument)
        ]


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Image classifiers whose answers come with a proof: no perturbation below the certified radius changes "
        "the label."
    ),
    epilog=(  # \b keeps the line breaks
        "\b\n"
        "NAME     a name from `zoo list`, local-dir:PATH or hf-hub:ORG/NAME@REVISION\n"
        "EPSILON  a number or a fraction, such as 36/255, in pixels of [0, 1]\n"
        "\n\b\n"
        "Exit codes: 0 done; 1 a check failed; 2 a mistake, told in one line."
    ),
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name, local-dir:PATH or hf-hub:ORG/NAME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with exact numbers instead of a table.")]


def main() -> None:
    """Runs the command line and exits."""
    run(app, "zoo")


def run(app: typer.Typer, program: str, label: str = "zoo") -> NoReturn:
    """Runs a command line and exits; a mistake is one line on stderr that begins with `label`, and exit code 2."""
    try:
        if sys.stdout is None:  # closed by the caller: the answer would go nowhere, unnoticed
            raise InputError("standard output is closed")
        code = app(prog_name=program, standalone_mode=False)
    except typer.TyperException as error:  # an option or argument that does not parse
        context = getattr(error, "ctx", None)
        command = context.command_path if context else program
        code = _fail(f"{error.format_message().rstrip('.')}. See `{command} --help`.", label)
    except ZooError as error:
        code = _fail(str(error), label)
    except OSError as error:  # a full disk, a terminal that is gone
        code = _fail(str(error), label)
    except typer.Abort:
        code = INTERRUPTED
    except SystemExit:  # how Typer and Rich end where the reader of a pipe has left: commands here return their code
        code = READER_LEFT
    sys.exit(code or 0)


@app.callback(invoke_without_command=True)
def zoo(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"certified-zoo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", cls=Command)
def list_command(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A shell pattern, as in '*-cifar10'.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only models with published weights.")] = False,
    as_json: JsonOption = False,
) -> int:
    """List the models: first the published ones and what they achieve, then those without weights, by family.

    VRA, verified-robust accuracy, is the share of test images that are classified right and certified at epsilon.
    """
    names = sorted(list_models(pattern, pretrained), key=lambda name: ENTRIES[name].digest is None)
    entries = [ENTRIES[name] for name in names]
    if not entries and not as_json:
        kind = "published model" if pretrained else "model"
        raise InputError(f"no {kind} matches {pattern!r}: `zoo list` shows all names")
    results = [_published_evaluation(entry) for entry in entries]
    if as_json:
        return _print_json([_list_json(*pair) for pair in zip(entries, results, strict=True)])
    published = [entry for entry in entries if entry.digest is not None]
    others = entries[len(published) :]
    console = Console()
    if published:
        console.print(published_table(published, results[: len(published)]))
    if published and others:
        console.print()
    if others:
        console.print(unpublished_table(others))
    console.print(
        f"\nModels: {len(entries)}, with weights: {len(published)}. VRA at an epsilon in the norm, pixels of [0, 1]."
    )
    console.print("Fewer: zoo list '*-cifar10', or --pretrained. The layers of one: zoo info NAME.")
    return 0


@app.command(cls=Command)
def info(name: NameArgument) -> int:
    """Show what a model is: its layers, and, where it is published, what is proved and what was measured."""
    console = Console()
    try:
        folder = fetch(name)
    except UnpublishedModelError as error:
        entry = find(name)
        console.print(pairs([*entry_pairs(entry), ("weights", str(error))]))
        console.print()
        try:
            require("torch", "torch")
        except MissingPackageError as missing:
            typer.echo(f"No layer table: {missing}")
        else:
            console.print(shape_table(entry.architecture))
        return 0
    console.print(pairs(folder_pairs(folder)))
    console.print()
    console.print(layer_table(folder.certificate))
    console.print()
    console.print(evaluation_table(folder.evaluation))
    console.print(pairs(evaluation_pairs(folder.evaluation)))
    return 0


@app.command(cls=Command)
def predict(
    name: NameArgument,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP files.")],
    epsilon: Annotated[
        str | None, typer.Option(metavar="EPSILON", help="Certify at this size, such as 36/255, or abstain.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Show the k nearest classes and top-k radii.")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="onnx or torch.")] = "onnx",
    precision: Annotated[
        str, typer.Option(metavar="TYPE", help="float64 (proved) or float32 (an estimate).")
    ] = "float64",
    as_json: JsonOption = False,
) -> int:
    """Classify images, each with its certified radius.

    Images are cropped and resized to the model's size first; the radius speaks of the resized image.
    """
    if epsilon is not None:
        parse_epsilon(epsilon)  # a mistake here should not wait for the model
    model = load(name, backend, precision)
    predictions = [model.predict(image, epsilon) for image in images]
    ranks = len(predictions[0].topk_radius)
    if top_k is not None and top_k > ranks:
        raise InputError(f"--top-k must be at most {ranks} for {model.name}, got {top_k}")
    if as_json:
        return _print_json(_predict_json(model, images, predictions))
    console = Console()
    console.print(prediction_table(model, images, predictions, epsilon))
    if top_k is not None:
        console.print()
        console.print(top_k_table(model, images, predictions, top_k))
    console.print()
    console.print(unit_line(model))
    if not model.proved:
        console.print("float32: these radii are estimates, not proved. --precision float64 proves them.")
    if line := abstention_line(predictions):
        console.print(line, soft_wrap=True)  # one line, wherever it is read
    return 0


@app.command(cls=Command)
def verify(
    name: cli_hub.FolderArgument,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="First check model.sig with this key. Needs the extra sign.")
    ] = None,
) -> int:
    """Prove a certificate again from the weights, and compare.

    Needs torch. Checks the sha256 of every file, what the files say of each other, every layer's bound and what
    follows from them. Prints each difference, and exits with 1 if there is one.
    """
    require("torch", "export")
    require("onnxscript", "export")
    try:
        folder = fetch(cli_hub.source_of(name))
        if public_key is not None:
            from zoo.signing import check_signature

            check_signature(folder, public_key)
    except IntegrityError as error:
        return _differ([str(error)])
    if differences := _recompute(folder):
        return _differ(differences)
    certificate = folder.certificate
    checked = [
        ("folder", str(folder.path)),
        ("files", f"{len(folder.digests)} have the sha256 that SHA256SUMS lists"),
        ("signature", f"by {public_key}" if public_key else "not checked: --public-key FILE does"),
        ("layers", f"{len(certificate.layers)} bounds proved again from model.safetensors"),
        ("body", f"Lipschitz bound {bound_text(certificate.body_lipschitz)}"),
        ("tables", f"sha256 {certificate.tables_sha256[:16]}..., as the certificate says"),
        ("graphs", _compared(folder)),
        ("not checked", "evaluation.json, labels, card"),
    ]
    Console().print(pairs([*checked, ("verdict", f"VERIFIED: the certificate of {certificate.name} holds")]))
    return 0


@app.command(cls=Command)
def certify(
    name: NameArgument,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name, or a folder of class folders.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.", metavar="N")] = None,
    epsilon: Annotated[
        list[str] | None, typer.Option(metavar="EPSILON", help="A size to certify at; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Also write the rates (.json), or a row for each image (.parquet).", metavar="FILE"),
    ] = None,
) -> int:
    """Measure accuracy and certified accuracy on a data set.

    Prints clean accuracy, VRA (right and certified) at each epsilon, and the average certified radius.

    With --output FILE.parquet a run that was ended goes on where it was, and the same command under torchrun,
    accelerate launch or several processes with RANK and WORLD_SIZE shares the images out.

    DATASET is one that the zoo knows (its test split, found through ZOO_DATA or the hub), or a folder with one
    subfolder of images for each class, named as the model names it.
    """
    for text in epsilon or ():
        parse_epsilon(text)
    if output is not None:
        _check_output(output)
        if output.suffix not in (".json", ".parquet"):
            raise InputError(f"--output must end in .json or .parquet, got {output.name!r}")
    if dataset not in DATASETS and not is_folder(dataset):
        near = difflib.get_close_matches(dataset, DATASETS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(DATASETS)}"
        raise InputError(f"no data set and no folder is called {dataset!r}: {hint}")
    model = load(name)
    if not epsilon and model.config.dataset not in DATASETS:
        raise InputError(f"no usual epsilons are known for {model.config.dataset}: give --epsilon")
    from zoo.evaluate import dataset_images, evaluate, folder_images, summarise
    from zoo.results import Results, share

    known = dataset in DATASETS
    data = dataset_images(model, dataset, limit) if known else folder_images(model, Path(dataset), limit)
    sizes = epsilon or DATASETS[model.config.dataset].epsilons[model.norm]
    command = shlex.join(["zoo", *sys.argv[1:]])
    part, start = share(), time.perf_counter()
    if output is None or output.suffix == ".json":
        if part.world > 1:
            raise InputError(f"{part.world} processes (WORLD_SIZE) need --output FILE.parquet to put their shares in")
        with progress() as bar:
            task = bar.add_task("images", total=data.count)
            result = evaluate(model, data, sizes, lambda count: bar.advance(task, count), command)
        if output is not None:
            _write(output, dumps(result))
    else:
        results = Results(output, model, data)
        with progress() as bar:
            task = bar.add_task("images", total=-(-data.count // part.world))
            if not results.certify(part, lambda count: bar.advance(task, count)):
                typer.echo(f"process {part.rank} of {part.world} is done; the last to end writes {output}")
                return 0
        result = summarise(model, data, sizes, *results.arrays(), time.perf_counter() - start, command)
    console = Console()
    console.print(evaluation_table(result))
    console.print(pairs(evaluation_pairs(result)))
    console.print()
    console.print(unit_line(model))
    return 0


@app.command(cls=Command)
def serve(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Models, each as for predict.")],
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="For HTTP; 0 takes a free one.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(metavar="P", min=0, max=65535, help="For gRPC; the next after --port if not given.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", envvar="ZOO_TOKEN", help="Ask for this bearer token.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="For a header to arrive, for a body, for an answer.")
    ] = 30.0,
    queue: Annotated[int, typer.Option(metavar="N", min=1, help="Requests that may wait; more get 429.")] = 128,
) -> int:
    """Answer over HTTP and gRPC, with certificates.

    Speaks the Open Inference Protocol v2, Hugging Face's image classification and a plain certify route; the page
    /docs shows them. SIGTERM ends it after the last accepted request is answered.
    """
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise InputError("the token must be printable ASCII and not empty")
    for name in names:
        if not name.startswith((LOCAL, HUB)):
            fetch(name)  # a mistake here should not wait for the port
    for package in ("kserve", "fastapi_offline", "onnxruntime"):
        require(package, "serve")
    from zoo.serve.server import serve as run_server
    from zoo.serve.service import Limits

    def announce(models: Sequence[str], url: str, grpc: str) -> None:
        for name in models:
            typer.echo(f"{name}: {url}/v1/models/{name}/certify")
        typer.echo(f"documents {url}/docs, metrics {url}/metrics, gRPC {grpc}")
        sys.stdout.flush()

    run_server(
        names, host, port, _next_port(port) if grpc_port is None else grpc_port, token, Limits(timeout, queue), announce
    )
    return 0


def _next_port(port: int) -> int:
    return min(port + 1, 65535) if port else 0


@app.command(cls=Command)
def doctor() -> int:
    """Check this installation and the models that it ships."""
    from zoo.doctor import examine

    findings = list(examine())
    problems = [finding for finding in findings if finding.problem]
    console = Console()
    console.print(
        pairs((finding.subject, f"{finding.found}{'  PROBLEM' * bool(finding.problem)}") for finding in findings)
    )
    console.print()
    console.print(pairs((finding.subject, str(finding.problem)) for finding in problems) if problems else "All well.")
    return 1 if problems else 0


for command in (cli_hub.pull, cli_hub.push, cli_hub.sign, cli_hub.hub):
    app.command(cls=Command)(command)


def _fail(message: str, label: str = "zoo") -> int:
    """Prints the error as one line on stderr; the exit code."""
    print(f"{label}: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _compared(folder: Folder) -> str:
    """How `verify` compared the graphs, which depends on who wrote them."""
    from zoo.onnx import EXPORTER
    from zoo.verify import exporter

    writer = exporter(folder)
    if writer == EXPORTER:
        return "exported again from the weights, every byte the same"
    return f"compared by tables and by answers to some images only: written by {writer}, here is {EXPORTER}"


def _recompute(folder: Folder) -> list[str]:
    """What `zoo.verify` finds, with a progress bar for each layer; a certificate that does not hold is a finding."""
    from zoo.verify import verify as recompute

    with proof_progress() as advance:
        try:
            return recompute(folder, advance)
        except (CertificateError, IntegrityError, UncertifiableLayerError) as error:
            return [str(error)]


def _differ(differences: list[str]) -> int:
    """Prints what `verify` found; the exit code."""
    typer.echo("\n".join(f"differs: {difference}" for difference in differences))
    return 1


def _print_json(value: Any) -> int:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
    return 0


def _check_output(path: Path) -> None:
    """Returns where `_write` can write the file. Raises InputError."""
    if not path.name or (exists(path) and not path.is_file()):
        raise InputError(f"--output must name a file, {str(path)!r} is something else")
    if not is_folder(path.parent):
        raise InputError(f"no folder {path.parent} to write {path.name} in")
    partial = _partial(path)
    try:
        partial.open("a").close()
        partial.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """The file is the whole text, or what it was before. Raises InputError."""
    partial = _partial(path)
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(f"{path}: {error.strerror}") from error


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.partial")  # others may write beside us


def _published_evaluation(entry: Entry) -> Evaluation | str:
    """What was measured of the model, or in a word why nothing is shown."""
    if entry.digest is None:
        return ""
    try:
        return fetch(entry.name).evaluation
    except ZooError:
        return "damaged"


def _list_json(entry: Entry, result: Evaluation | str) -> dict[str, Any]:
    measured = isinstance(result, Evaluation)
    return {
        "name": entry.name,
        "architecture": describe(entry.architecture),
        "dataset": entry.dataset,
        "norm": entry.norm,
        "input_shape": entry.architecture.input_shape,
        "parameters": entry.parameters,
        "pretrained": entry.digest is not None,
        "clean_accuracy": result.clean_accuracy if measured else None,
        "vra": result.vra if measured else None,
    }


def _predict_json(model: Model, images: list[str], predictions: list[Prediction]) -> dict[str, Any]:
    return {
        "model": model.name,
        "precision": model.precision,
        "proved": model.proved,
        "norm": model.norm,
        "unit": model.certificate.unit,
        "input_shape": model.input_shape,
        "labels": model.labels,
        "predictions": [
            {"image": image, **prediction.to_json()} for image, prediction in zip(images, predictions, strict=True)
        ],
    }
