"""What the app says and how it looks: texts, theme, and the fragments of HTML that the views fill."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from gradio.themes import Default
from PIL import Image

from space.answers import NEAREST, Answer, accuracy
from space.attack import Point
from zoo.figures import radius_text, shape_text
from zoo.inference.images import MAX_IMAGE_BYTES, MAX_PIXELS

TITLE = "certified-zoo"
STATIC = Path(__file__).parent / "static"
THEME = Default(
    primary_hue="blue", neutral_hue="zinc", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # enough contrast for small text, WCAG 2 AA
    body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
    block_label_text_color="*neutral_600", block_label_text_color_dark="*neutral_300",
    block_title_text_color="*neutral_600", block_title_text_color_dark="*neutral_300",
    color_accent="*primary_600",
)  # fmt: skip
HEAD = (
    '<link rel="stylesheet" href="browser/style.css"><script type="module" src="browser/elements.js"></script>'
    '<meta name="description" content="Image classifiers whose answers come with a proof">'
)
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#picture img { height: 100%; image-rendering: pixelated; object-fit: contain; width: 100%; }
.gallery-item .container { height: 52px !important; width: 52px !important; }
.gallery-item img { image-rendering: pixelated; }
"""
# Makes the points of the scatter act as buttons.
PRESS = """
const press = (event) => {
  const point = event.target.closest("[data-model]");
  if (point) trigger("click", { model: point.dataset.model });
};
element.addEventListener("click", press);
element.addEventListener("keydown", (event) => event.key === "Enter" && press(event));
"""

INTRODUCTION = """# How large a change does an answer survive?

Each answer carries a proof: no change smaller than its **certified radius** alters it, be it right or wrong.
"""
IN_BROWSER = "[Certify in your browser](browser/), with no upload."
ACCEPTED_PICTURES = (
    f"PNG, JPEG or WebP, one frame, up to {MAX_IMAGE_BYTES // 2**20} MiB and {MAX_PIXELS // 10**6} million pixels."
)
EPSILON = "How large a change must the answer survive? Press the arrow keys, or drag."
ATTACK = """Projected gradient descent looks for the change that hurts most, on the picture and model chosen under
*Certify*. Inside the certified radius it cannot succeed, however hard it tries; outside it may."""
NO_TORCH = """**Attacks need PyTorch, which is not installed here.** They follow the gradient of the network, and ONNX
Runtime has none. In a checkout, `pip install -e '.[torch]'` brings this tab to life."""
COMPARE = """Two models, the same picture. Each curve is the share of test images that the model gets right *and*
certifies at epsilon; the mark is the certified radius of this picture."""
SHARE = "It holds this picture as the model sees it, the model and epsilon."
ZOO = """VRA, verified-robust accuracy: the share of test images that are right *and* certified at epsilon. ACR: average
certified radius, wrong answers counted as 0. Choose a row or a point for the model's card and files."""
GUARANTEE = """## What a certified radius says

*If the model answers* dog *with radius 0.5, then each picture within distance 0.5 of the one it saw is* dog *to it.*
No search, no statistics, no "with high probability": a bound on how fast the network's outputs can change, proved layer
by layer and rounded the safe way.

## What it does not say

* **That the label is right.** A wrong answer can be certified, too: beside each is how often the model is right.
* **Anything about your large picture.** The distance is measured on the picture *as the model sees it*, at its own few
  pixels. Cropping, resizing and decoding come before and are not covered.
* **Other kinds of change.** The distance is the one named beside each radius (l2: the square root of the sum of squared
  differences over all pixels and colours, black 0, white 1). Rotations, shifts and new backgrounds are large in it.
* **Other arithmetic.** The proof is for `model.onnx` in IEEE-754 float64 on a CPU, rounding included. The float32 graph
  gives estimates, which this app never shows.
* **Unknown things.** A model knows the classes of its data set. Show a digit model a cat, and it will name a digit.
* **Certainty beyond mathematics.** The proofs are on paper and the code is tested; no proof assistant checked them.

## How to check it

`zoo verify NAME` proves every bound again from the published weights. Each folder in *The zoo* has its certificate.
CERTIFIED means radius > epsilon, strictly; ABSTAIN means that nothing is promised, not that an attack exists.
"""


def problem(message: str) -> str:
    """The element that tells the user what went wrong."""
    return f'<div class="problem" role="alert">{escape(message)}</div>'


def verdict(answer: Answer, epsilon: float, limit: float) -> str:
    """The picture as the model sees it, beside the element that `static/elements.js` fills with the answer.

    The element compares the radius with the slider's epsilon itself, so that moving the slider needs no forward pass.
    """
    attributes = _data(
        label=answer.prediction.name,
        labels=json.dumps(answer.model.labels),
        accuracy=json.dumps(accuracy(answer.model.evaluation)),
        radius=repr(answer.prediction.radius),
        norm=answer.model.norm,
        shape=",".join(map(str, answer.model.input_shape)),
        epsilon=epsilon,
        limit=limit,
    )
    size = shape_text(answer.model.input_shape[1:])
    colour = "grey" if answer.model.input_shape[0] == 1 else "RGB"
    picture = _figure(answer.image, f"What the model sees: {size} pixels, {colour}")
    return f'<div class="answer">{picture}<zoo-verdict {attributes}></zoo-verdict></div>'


def distances(answer: Answer, epsilon: float) -> str:
    """The element that `static/elements.js` fills with the certified distances of the nearest other classes."""
    attributes = _data(label=answer.prediction.name, classes=json.dumps(answer.nearest(NEAREST)), epsilon=epsilon)
    return f"<zoo-distances {attributes}></zoo-distances>"


def _data(**values: object) -> str:
    return " ".join(f'data-{key}="{escape(str(value))}"' for key, value in values.items())


def compared(answers: Sequence[Answer]) -> str:
    """The picture as each model sees it, with its answer."""
    figures = [
        _figure(
            answer.image,
            f"{answer.model.name}: {answer.prediction.name}, certified radius {radius_text(answer.prediction.radius)}",
        )
        for answer in answers
    ]
    return f'<div class="seen">{"".join(figures)}</div>'


def attacked(answer: Answer, last: Point, label: str) -> str:
    """Original, perturbation and attacked picture side by side, and what happened."""
    change = last.image.astype(np.float64) - answer.image
    largest = float(np.abs(change).max())
    scale = 0.5 / largest if largest > 0 else 1.0
    before, radius = answer.prediction.name, radius_text(answer.prediction.radius)
    inside = last.size <= answer.prediction.radius
    if label == before and inside:
        text = f"Size {last.size:.4f}, inside the certified radius {radius}: still <b>{escape(before)}</b>, as proved."
    elif label == before:
        text = f"Size {last.size:.4f}, outside the certified radius {radius}: this attack failed, another may not."
    elif inside:
        text = "The label changed inside the certified radius, which contradicts the certificate: please report this."
    else:
        text = f"Size {last.size:.4f}, outside the certified radius {radius}: now <b>{escape(label)}</b>."
    figures = (
        _figure(answer.image, f"Original: {before}"),
        _figure(0.5 + scale * change, f"The change, magnified {scale:.1f} times, grey is none"),
        _figure(last.image, f"Attacked: {label}"),
    )
    return f'<p role="status" class="outcome">{text}</p><div class="seen">{"".join(figures)}</div>'


def _figure(image: np.ndarray, caption: str) -> str:
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
