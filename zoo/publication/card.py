"""The model card, rendered from a folder's records and nothing else: the same records give the same bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from zoo.architectures import FAMILIES
from zoo.citations import LOSSES
from zoo.data.datasets import DATASETS, dataset_of, known_labels, plain_labels
from zoo.figures import bound_text, percent, radius_text, ratio_text, seconds_text, shape_text
from zoo.publication.picture import PICTURE, Change, changes, distance_picture
from zoo.records import Certificate, Evaluation, LayerBound, ModelConfig, aim

NO_DIFFERENCE = "the same data, sizes, loss, epochs and batch"  # of a run that does not differ from its paper's row
NOT_PUBLISHED = " It is not on the Hugging Face hub; the project's README says how to make such a set."
PINNED = """The name means the folder that the installed
package pins; any other is `zoo.load("local-dir:FOLDER")` and `zoo verify FOLDER`."""
OWN = """FOLDER is this one, wherever it lies; on
a hub it is `zoo.load("hf-hub:ORG/NAME")`."""
HEADER = "---\n{front}---\n\n# {name}\n\n"


def render(config: ModelConfig, certificate: Certificate, evaluation: Evaluation) -> str:
    """The card as Markdown with Hugging Face front matter."""
    sections = (
        _summary(config, evaluation),
        _choice(config, evaluation),
        _pictures(config, evaluation),
        _results(config, evaluation),
        _use(config, evaluation),
        _guarantee(certificate),
        _layers(certificate),
        _training(config),
        _limits(config),
        _citation(config, certificate),
    )
    return (
        HEADER.format(front=_front_matter(config, evaluation), name=config.name)
        + "\n\n".join(filter(None, sections))
        + "\n"
    )


def write_card(folder: Path, config: ModelConfig, certificate: Certificate, evaluation: Evaluation) -> None:
    """Writes the card into the folder, and the picture that it shows where the model is one of pictures."""
    (folder / "README.md").write_text(render(config, certificate, evaluation), encoding="utf-8")
    if picture := card_picture(config, evaluation):
        (folder / PICTURE).write_bytes(picture)


def card_picture(config: ModelConfig, evaluation: Evaluation) -> bytes | None:
    """The PNG file that the card shows, of the epsilon that the model was made for."""
    shown = config.input_shape, config.norm, aim(config, evaluation)
    return distance_picture(*shown) if changes(*shown) else None


def _front_matter(config: ModelConfig, evaluation: Evaluation) -> str:
    data, hub = dataset_of(config), dataset_of(config).hub
    metrics = [("accuracy", "Clean accuracy", evaluation.clean_accuracy)]
    metrics += [("accuracy", f"VRA, {config.norm}, epsilon {text}", value) for text, value in evaluation.vra.items()]
    lines = [
        f"license: {config.license}",
        "library_name: certified-zoo",
        "pipeline_tag: image-classification",
        "tags: [certified-robustness, lipschitz, onnx]",
        *([f"datasets: [{hub}]"] if hub else []),
    ]
    if not evaluation.measured:
        return "\n".join(lines) + "\n"
    lines += [
        "model-index:",
        f"- name: {config.name}",
        "  results:",
        "  - task: {type: image-classification}",
        f'    dataset: {{name: {data.title}, type: {config.dataset}, split: "{evaluation.split}"}}',
        "    metrics:",
    ]
    lines += [f'    - {{type: {kind}, name: "{name}", value: {percent(value)}}}' for kind, name, value in metrics]
    return "\n".join(lines) + "\n"


def _summary(config: ModelConfig, evaluation: Evaluation) -> str:
    epsilon, title = aim(config, evaluation), dataset_of(config).title
    measured = (
        f"On the split `{evaluation.split}` it is right for {percent(evaluation.clean_accuracy)} % of the images, and "
        f"right *and* certified at {epsilon} for {percent(evaluation.vra[epsilon])} %."
        if evaluation.measured
        else "How often it is right was not measured: there was no test set."
    )
    return (
        f"A certified image classifier for {title} (`{config.dataset}`). Every answer comes with a certified radius: a "
        f"proof that no perturbation of smaller {config.norm} norm changes the label. {measured}"
    )


def _choice(config: ModelConfig, evaluation: Evaluation) -> str:
    """For whom the model is, and when another one is better."""
    epsilon, data = aim(config, evaluation), dataset_of(config)
    others = [f"{percent(rate)} % at {text}" for text, rate in evaluation.vra.items() if text != epsilon]
    things = "points" if data.made else "images"
    uncertified = percent(evaluation.clean_accuracy - evaluation.vra.get(epsilon, 0.0))
    rank = f"zoo list --dataset {config.dataset} --norm {config.norm} --epsilon {epsilon}"
    lines = [
        f"* It was made for {epsilon}; it certifies {', '.join(others)}." if others else "",
        f"* {uncertified} % of all {things} get the right answer, but without a certificate at {epsilon}."
        if evaluation.measured
        else "",
        _behind(config, evaluation),
        f"* Which model certifies most: `{rank}`." if config.dataset in DATASETS else "",
    ]
    text = f"""## For whom, and where another is better

For whoever has {"points" if data.made else "pictures"} like those of {data.title} and asks whether a change of at most
{epsilon} in the {config.norm} norm can flip the answer: in research, in teaching, in trials of services that answer
with certificates. The classes are {known_labels(plain_labels(config.labels))}."""
    return "\n\n".join(filter(None, [text, "\n".join(filter(None, lines))]))


def _behind(config: ModelConfig, evaluation: Evaluation) -> str:
    """By how much the published row is better; empty if it is not."""
    paper = paper_of(config)
    rate = evaluation.vra.get(paper["epsilon"]) if paper else None
    if not paper or rate is None or paper["vra"] <= 100 * rate:
        return ""
    return f"* The published row that it stands for certifies {paper['vra'] - 100 * rate:.2f} points more: see below."


def _pictures(config: ModelConfig, evaluation: Evaluation) -> str:
    """What the epsilon that the model was made for looks like; empty if the input is no picture."""
    epsilon = aim(config, evaluation)
    found = changes(config.input_shape, config.norm, epsilon)
    if not found:
        return ""
    others, all_of_them = ("two others", "all three") if len(found) > 1 else ("another", "both")
    told = "; ".join(_change(change, config) for change in found)
    return f"""## What {epsilon} looks like

![A drawn picture, and {others} at {config.norm} distance {epsilon} from it]({PICTURE})

On the left a drawn picture, then {others} at {config.norm} distance {epsilon} from it, or just below: {told}.
Where the left one's radius is above {epsilon}, the answer is proved to be the same for {all_of_them}, and for every
other picture as near."""


def _change(change: Change, config: ModelConfig) -> str:
    steps, values = f"changed by {change.steps} of 255", math.prod(config.input_shape)
    if change.side > 1:
        return f"the middle {change.side} x {change.side} pixels {steps}"
    if change.side:
        return f"one pixel {steps}"
    return f"{'every value' if change.values == values else f'{change.values:,} of {values:,} values'} {steps}"


def _results(config: ModelConfig, evaluation: Evaluation) -> str:
    if not evaluation.measured:
        return """## Measured

Not measured: there was no test set. `zoo evaluate local-dir:FOLDER PICTURES` measures this folder on pictures in a
subfolder for each class."""
    local = dataset_of(config).original is not None
    rows = [
        "## Measured",
        "",
        f"On {evaluation.images:,} images of the split `{evaluation.split}`, from the outputs of the shipped "
        "`model.onnx`.",
        "",
        "| | |",
        "|---|---|",
        f"| clean accuracy | {percent(evaluation.clean_accuracy)} % |",
    ]
    for text, value in evaluation.vra.items():
        attacked = evaluation.pgd_accuracy.get(text)
        upper = (
            ""
            if attacked is None
            else f" (of the first {evaluation.pgd_images:,}: {percent(evaluation.attacked_vra(text))} %, "
            f"PGD leaves {percent(attacked)} %)"
        )
        rows.append(f"| VRA at {config.norm} {text} | {percent(value)} %{upper} |")
    rows.append(f"| average certified radius | {evaluation.acr:.4f} |")
    rows += [f"| tightness, {what} | {percent(value)} % |" for what, value in evaluation.tightness.items()]
    rows += [
        "",
        "VRA, verified-robust accuracy: right and certified radius > epsilon.",
        *([f"Attack: {evaluation.pgd}. What it leaves bounds VRA from above."] if evaluation.pgd else []),
        *([_tightness(evaluation)] if evaluation.tightness else []),
        "",
        f"Measured in {seconds_text(evaluation.seconds)} on {evaluation.machine} by `{evaluation.command}`. Data: "
        f"sha256 `{evaluation.revision[:16]}`.{local * NOT_PUBLISHED}",
    ]
    if paper := paper_text(config):
        rows += ["", f"**Published for comparison:** {paper}."]
    return "\n".join(rows)


def _tightness(evaluation: Evaluation) -> str:
    return (
        "Tightness: the largest difference quotient that a search found between two inputs, as a share of the proved "
        "bound; of the margins, which are differences of two classes' logits, by pair of classes. "
        f"Search: {evaluation.tightness_search}."
    )


def paper_of(config: ModelConfig) -> dict[str, Any] | None:
    """The published row that the model is compared with; None if there is none, or what the recipe has is no row."""
    match config.recipe.get("paper"):
        case {
            "model": str(),
            "clean": float() | None,
            "vra": float(),
            "epsilon": str(),
            "source": str(),
            "differences": [*differences],
        } as paper if all(isinstance(difference, str) for difference in differences):
            return paper
    return None


def paper_text(config: ModelConfig) -> str:
    """The published row that the model is compared with, and how the model differs from it; empty if there is none."""
    paper = paper_of(config)
    if paper is None:
        return ""
    clean = "" if paper["clean"] is None else f"{paper['clean']:.2f} % clean, "
    differences = "; ".join(paper["differences"]) or NO_DIFFERENCE
    return (
        f"`{paper['model']}`, {clean}{paper['vra']:.2f} % VRA at {paper['epsilon']} ({paper['source']}). "
        f"Here: {differences}"
    )


def _use(config: ModelConfig, evaluation: Evaluation) -> str:
    point = dataset_of(config).made
    imports, given = ("import numpy\n", f"numpy.full({config.input_shape}, 0.5)") if point else ("", '"picture.png"')
    registered = config.dataset in DATASETS
    source, verified = (config.name, config.name) if registered else ("local-dir:FOLDER", "FOLDER")
    meaning = PINNED if registered else OWN
    return f"""## Use

```python
{imports}import zoo

model = zoo.load("{source}")  # needs onnxruntime, not torch
prediction = model.predict({given}, epsilon="{aim(config, evaluation)}")
print(prediction.label, prediction.radius)  # the label is None where it is not certified
```

`zoo verify {verified}` proves the certificate again from the weights. {meaning} `model.onnx` computes in float64 and
its radius is proved; `model.float32.onnx` is faster, and its `radius_estimate` is not proved."""


def _guarantee(certificate: Certificate) -> str:
    levels = ", ".join(map(radius_text, certificate.levels))
    return f"""## What is guaranteed

> {certificate.claim}

* Unit: {certificate.unit}.
* Domain: {certificate.domain}
* Arithmetic: {certificate.arithmetic}
* Composition: {certificate.composition}.{bool(levels) * f" Levels: {levels}."}"""


def _layers(certificate: Certificate) -> str:
    rows = [
        "## Certificate",
        "",
        f"Lipschitz bound of the body: {bound_text(certificate.body_lipschitz)}. "
        "Bound / estimate tells how much may be slack.",
        "",
        "| layer | input | method | bound | bound / estimate |",
        "|---|---|---|---|---|",
    ]
    rows += [_layer(layer) for layer in certificate.layers if layer.method != "nonexpansive"]
    return "\n".join(rows)


def _layer(layer: LayerBound) -> str:
    ratio = ratio_text(layer.lipschitz_bound, layer.lipschitz_estimate)
    cells = (layer.name, shape_text(layer.input_shape), layer.method, bound_text(layer.lipschitz_bound), ratio)
    return f"| {' | '.join(cells)} |"


def _training(config: ModelConfig) -> str:
    recipe = dict(config.recipe)
    command, hours, hardware, _ = (recipe.pop(key, None) for key in ("command", "hours", "hardware", "paper"))
    settings = "\n".join(f"| {key} | {json.dumps(value)} |" for key, value in recipe.items())
    if command is None:  # `zoo.publish` wrote it
        table = f"\n\n| setting | value |\n|---|---|\n{settings}" if settings else ""
        return f"## Training\n\nIts author trained it, with code that is not part of the zoo.{table}"
    return f"""## Training

`{command}`, then
`python -m export runs/{config.name}`, from a checkout. Hours: {_recorded(hours)}, of training
steps alone. Hardware: {_recorded(hardware)}.{_start(recipe)}
The settings of this run, also where the recipe of a newer checkout has others:

| setting | value |
|---|---|
{settings}"""


def _start(recipe: dict[str, Any]) -> str:
    """What a card says of the model from whose weights the training began, if any."""
    if not recipe.get("init"):
        return ""
    epochs, hours, weights = (recipe.get(f"init_{key}") for key in ("epochs", "hours", "weights"))
    return f"""

It began with the weights of `{recipe["init"]}` with sha256
`{weights}`, after {_recorded(epochs)} epochs of training, hours: {_recorded(hours)}.
Where that name means other weights now, an earlier revision of its folder has these."""


def _recorded(value: object) -> object:
    return "not recorded" if value is None else value


def _limits(config: ModelConfig) -> str:
    shape = shape_text(config.input_shape)
    larger = "" if dataset_of(config).made else ", not of a larger picture before it was resized"
    return f"""## Limits

The radius speaks of the {shape} tensor that enters the graph{larger}. It does not say that the label is right. The
model knows the classes of its data set and nothing else.

Not for decisions about people or their safety.

Licence: {config.license}."""


def _citation(config: ModelConfig, certificate: Certificate) -> str:
    family, loss = FAMILIES.get(config.architecture["family"]), LOSSES.get(config.recipe.get("loss", ""))
    network = family and family.citation
    works = {"Network and loss": network} if network == loss else {"Network": network, "Loss": loss}
    lines = [f"* {what}: {work}\n" for what, work in works.items() if work]
    sources = "".join([*lines, "\n"] if lines else [])
    return f"""## Citation

{sources}This model is `{config.name}` of certified-zoo, weights sha256 `{certificate.weights_sha256}`."""
