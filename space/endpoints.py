"""What the API answers: the same as the tabs show, as plain values, or an error of one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from space import answers
from space.attack import attack, attacked_name
from space.uploads import Upload, path_of
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, ZooError


def telling(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, whose ZooErrors reach the caller as their one line."""

    @wraps(endpoint)
    def told(*arguments: Any) -> Any:
        try:
            return endpoint(*arguments)
        except ZooError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return told


@telling
def certify_endpoint(image: Upload, model: str, epsilon: str) -> dict[str, Any]:
    """The label of an image with its certified radius, and whether the radius is above epsilon (such as 36/255)."""
    size = parse_epsilon(epsilon)
    answer = answers.answer(path_of(image), model)
    prediction, certified = answer.prediction, answer.prediction.radius > size
    return {
        "model": model,
        "name": prediction.name,
        "label": prediction.name if certified else None,
        "certified": certified,
        "radius": prediction.radius,
        "epsilon": size,
        "class_radii": dict(answer.nearest(len(answer.model.labels))),
        "norm": answer.model.norm,
        "unit": answer.model.certificate.unit,
        "proved": prediction.proved,
    }


@telling
def attack_endpoint(image: Upload, model: str, strength: str) -> dict[str, Any]:
    """The path of an attack on an image up to a size: at each, the strongest perturbation found and its margin."""
    size, answer = parse_epsilon(strength), answers.answer(path_of(image), model)
    if size > 2 * answers.last_epsilon(model):
        raise InputError(f"strength must be at most {2 * answers.last_epsilon(model):g} for {model}, got {size:g}")
    path = attack(answer, size)
    return {
        "name": answer.prediction.name,
        "attacked_name": attacked_name(answer, path),
        "radius": answer.prediction.radius,
        "sizes": [point.size for point in path],
        "margins": [point.margin for point in path],
        "norm": answer.model.norm,
    }


def models_endpoint() -> list[dict[str, Any]]:
    """Every published model: norm, data set, input, labels, accuracy, verified-robust accuracy, claim, files."""
    return [answers.record(name) for name in answers.names()]
