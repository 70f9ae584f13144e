"""What each tab shows: the answer, or what the user did wrong."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.utils import get_upload_folder

from space import answers, board, plots, words
from space.attack import SIZES, attack, attacked_name
from space.uploads import Upload, path_of
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, ZooError
from zoo.files import write_whole
from zoo.inference.images import as_batch

MAX_LINK = 2**16  # characters of a shared link; the picture of 64 x 64 pixels takes half as many at most
PROGRESS = gr.Progress()  # as the default of a parameter, by which Gradio passes the bar of each call


def show_certify(picture: Upload, name: str, epsilon: float) -> tuple[str, str]:
    try:
        answer = answers.answer(path_of(picture), name)
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.verdict(answer, epsilon, answers.last_epsilon(name)), words.distances(answer, epsilon)


def sliders(name: str, epsilon: float | None = None) -> tuple[gr.Slider, gr.Slider]:
    """The sliders for a model: from 0 to a radius that no test image reached."""
    limit = answers.last_epsilon(name)
    value = round(answers.own_epsilon(name), 3) if epsilon is None else min(epsilon, limit)
    return gr.Slider(maximum=limit, value=value), gr.Slider(maximum=2 * limit, value=round(1.5 * limit, 3))


def suit(kind: str, name: str) -> tuple[Any, ...]:
    """The model for an example of this data set, and its sliders if it is another model."""
    chosen = answers.suited(kind, name)
    return (chosen, *(sliders(chosen) if chosen != name else (gr.skip(), gr.skip())))


def restore(link: str) -> tuple[Any, ...]:
    """Picture, model and sliders by what follows the # of a shared link; unchanged if nothing does."""
    if not link.lstrip("#"):
        return (gr.skip(),) * 4
    try:
        name, epsilon, content = shared(link)
    except ZooError as error:
        raise gr.Error(f"the link cannot be followed: {error}", print_exception=False) from error
    file = Path(get_upload_folder()) / sha256(content).hexdigest() / "shared.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)  # another visitor may be reading the same picture
    return str(file), name, *sliders(name, epsilon)


def shared(link: str) -> tuple[str, float, bytes]:
    """Model, epsilon and picture of a shared link. Raises InputError for anything else."""
    try:
        values = dict(parse_qsl(link.lstrip("#")[:MAX_LINK], max_num_fields=8))
        name, epsilon, content = (
            values["model"],
            parse_epsilon(values["epsilon"]),
            b64decode(values["picture"], validate=True),
        )
    except (KeyError, ValueError) as error:
        raise InputError("it does not hold a model, an epsilon and a picture") from error
    as_batch(content, answers.model(name).input_shape)  # only a picture that a model takes is kept
    return name, epsilon, content


def show_attack(picture: Upload, name: str, strength: float, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    try:
        answer = answers.answer(path_of(picture), name)
        path = attack(answer, parse_epsilon(strength), lambda count: progress((count, SIZES + 1), unit="sizes"))
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.attacked(answer, path[-1], attacked_name(answer, path)), plots.margins(answer, path)


def show_comparison(picture: Upload, first: str, second: str) -> tuple[str, str]:
    try:
        pair = [answers.answer(path_of(picture), name) for name in (first, second)]
        if pair[0].model.norm != pair[1].model.norm:
            raise InputError(
                f"{first} measures in {pair[0].model.norm}, {second} in {pair[1].model.norm}: no comparison"
            )
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.compared(pair), plots.curves(pair)


def show_board(dataset: str, norm: str, epsilon: str) -> tuple[Any, ...]:
    """The filters, which offer only what has models, the table and scatter of those, and the card of the first one."""
    norms = board.norms(dataset)
    if not norms:
        raise gr.Error("no model here was measured on this data set; choose one that is offered", print_exception=False)
    offered = [offer(norms, norm)]
    norm = norm if norm in norms else norms[0]
    epsilons = board.epsilons(dataset, norm)
    offered.append(offer(epsilons, epsilon))
    epsilon = epsilon if epsilon in epsilons else epsilons[0]
    rows = board.rows(dataset, norm, epsilon)
    return *offered, rows, plots.scatter(rows, norm, epsilon), *show_card(rows.data["model"].iloc[0])


def offer(choices: list[str], chosen: str) -> gr.Radio:
    """What can be chosen now. A choice that stands is left alone: the visitor may already have made another."""
    return gr.Radio(choices) if chosen in choices else gr.Radio(choices, value=choices[0])


def show_row(event: gr.SelectData) -> tuple[str, str]:
    return show_card(event.row_value[0])


def show_point(event: gr.EventData) -> tuple[str, str]:
    return show_card(event.model)


def show_card(name: str) -> tuple[str, str]:
    links = (f"[{file.rpartition('/')[2]}]({file})" for file in answers.record(name)["files"])
    return f"## {name}\n\nDownload: " + " · ".join(links), answers.card(name)
