"""The Space: certified answers to look at. `python -m space.app`, or `make space`, then open the address it prints.

From top to bottom: what each tab shows, what the API answers, the page, the server.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from fastapi.staticfiles import StaticFiles

from space import answers, plots, words
from space.attack import attack
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, ZooError
from zoo.images import MAX_BYTES

DEFAULT = "liresnet-l4w32-cifar10-jpeg75"
SAMPLES = sorted((words.STATIC / "samples").glob("*.png"), key=lambda path: (path.stem.startswith("digit"), path.stem))
TORCH = find_spec("torch") is not None
QUEUE, AT_ONCE = 32, 2  # requests that may wait, and that are computed at the same time


class Picture(gr.Image):
    """An image input that hands on the path of the uploaded file: only `zoo.images` decodes what strangers send."""

    is_template = True  # in the browser it is a gr.Image

    def preprocess(self, payload: Any) -> str | None:
        return payload.path if payload else None


# What each tab shows. A mistake of the user is told in the place of the answer.


def show_certify(picture: str | None, name: str, epsilon: float) -> tuple[str, str]:
    try:
        answer = answers.answer(picture, name)
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.verdict(answer, epsilon, answers.last_epsilon(name)), plots.distances(answer)


def reset_epsilon(name: str) -> tuple[gr.Slider, gr.Slider]:
    """The sliders as they suit a model: from 0 to the radius that no test image reached."""
    limit, value = answers.last_epsilon(name), round(answers.first_epsilon(name), 3)
    return gr.Slider(maximum=limit, value=value), gr.Slider(maximum=2 * limit, value=round(1.5 * limit, 3))


def show_attack(picture: str | None, name: str, strength: float) -> tuple[str, str]:
    try:
        answer = answers.answer(picture, name)
        path = attack(answer, strength)
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.attacked(answer, path[-1], answer.model.predict(path[-1].image).name), plots.margins(answer, path)


def show_comparison(picture: str | None, first: str, second: str) -> tuple[str, str]:
    try:
        pair = [answers.answer(picture, name) for name in (first, second)]
        if pair[0].model.norm != pair[1].model.norm:
            raise InputError(
                f"{first} measures in {pair[0].model.norm}, {second} in {pair[1].model.norm}: no comparison"
            )
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.compared(pair), plots.curves(pair)


def leaderboard() -> tuple[list[str], list[list[Any]]]:
    epsilons = answers.epsilons()
    columns = ["model", "norm", "data", "clean %", *(f"VRA % at {epsilon}" for epsilon in epsilons)]
    rows = []
    for record in map(answers.record, answers.names()):
        vra = [round(100 * record["vra"][epsilon], 2) if epsilon in record["vra"] else None for epsilon in epsilons]
        clean = round(100 * record["clean_accuracy"], 2)
        row = [record["name"], record["norm"], record["dataset"], clean, *vra]
        rows.append([*row, round(record["acr"], 4), record["parameters"], record["paper"] or "none for this model"])
    return [*columns, "ACR", "parameters", "the paper's figure"], rows


def name_of_row(event: gr.SelectData) -> str:
    return event.row_value[0]


def show_card(name: str) -> tuple[str, str]:
    links = (f"[{file.rpartition('/')[2]}]({file})" for file in answers.record(name)["files"])
    return "Download: " + " · ".join(links), answers.card(name)


# What the API answers: the same, as plain values. A mistake is an error of one line.


def telling(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    def told(*arguments: Any) -> Any:
        try:
            return endpoint(*arguments)
        except ZooError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return told


@telling
def certify_endpoint(image: str, model: str, epsilon: str) -> dict[str, Any]:
    """The label of an image with its certified radius, and whether the radius is above epsilon (such as 36/255)."""
    size = parse_epsilon(epsilon)
    answer = answers.answer(image, model)
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
def attack_endpoint(image: str, model: str, strength: str) -> dict[str, Any]:
    """The path of an attack on an image up to a size: at each, the strongest perturbation found and its margin."""
    size, answer = parse_epsilon(strength), answers.answer(image, model)
    if size > 2 * answers.last_epsilon(model):
        raise InputError(f"strength must be at most {2 * answers.last_epsilon(model):g} for {model}, got {size:g}")
    path = attack(answer, size)
    return {
        "name": answer.prediction.name,
        "attacked_name": answer.model.predict(path[-1].image).name,
        "radius": answer.prediction.radius,
        "sizes": [point.size for point in path],
        "margins": [point.margin for point in path],
        "norm": answer.model.norm,
    }


def models_endpoint() -> list[dict[str, Any]]:
    """Every published model: norm, data set, input, labels, accuracy, verified-robust accuracy, claim, files."""
    return [answers.record(name) for name in answers.names()]


# The page.


def page() -> gr.Blocks:
    choices = [(answers.headline(name), name) for name in answers.names()]
    limit, start = answers.last_epsilon(DEFAULT), round(answers.first_epsilon(DEFAULT), 3)
    verdict_now, plot_now = show_certify(str(SAMPLES[0]), DEFAULT, start)
    with gr.Blocks(title=words.TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(words.INTRODUCTION)
        with gr.Tab("Certify"), gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = Picture(
                    str(SAMPLES[0]), label="Picture", sources=["upload", "webcam", "clipboard"], height=260,
                    image_mode=None, elem_id="picture", buttons=[], alt_text="The picture to certify",
                )  # fmt: skip
                gr.Markdown(words.LIMITS)
                name = gr.Dropdown(choices, value=DEFAULT, label="Model", elem_id="model")
                gr.Examples(
                    [[str(path)] for path in SAMPLES], picture, label="Drawn for this page", examples_per_page=14
                )
            with gr.Column(scale=3, min_width=300):
                verdict = gr.HTML(verdict_now, elem_id="verdict")
                epsilon = gr.Slider(
                    0, limit, start, step=0.001, label="epsilon", info=words.EPSILON, elem_id="epsilon"
                )  # fmt: skip
                plot = gr.HTML(plot_now, elem_id="distances")
        with gr.Tab("Attack"):
            gr.Markdown(words.ATTACK if TORCH else words.NO_TORCH)
            with gr.Row(visible=TORCH, equal_height=True):
                strength = gr.Slider(
                    0, 2 * limit, round(1.5 * limit, 3), step=0.001, label="strength", elem_id="strength", scale=4,
                    info="How large may the change be? In the norm and the unit of the radius.",
                )  # fmt: skip
                run = gr.Button("Attack", variant="primary", elem_id="run", scale=1)
            outcome = gr.HTML(elem_id="outcome")
            path = gr.HTML(elem_id="path")
        with gr.Tab("Compare") as compare:
            gr.Markdown(words.COMPARE)
            with gr.Row():
                first = gr.Dropdown(choices, value=DEFAULT, label="One model", elem_id="first")
                second = gr.Dropdown(choices, value=answers.names()[0], label="Another", elem_id="second")
            compared = gr.HTML(elem_id="compared")
            curves = gr.HTML(elem_id="curves")
        with gr.Tab("The zoo"):
            gr.Markdown(words.ZOO)
            columns, rows = leaderboard()
            board = gr.Dataframe(
                rows, headers=columns, interactive=False, elem_id="board", column_widths=words.widths(columns)
            )
            links_now, card_now = show_card(DEFAULT)
            chosen = gr.Dropdown(answers.names(), value=DEFAULT, label="Card of", elem_id="chosen")
            links, card = gr.Markdown(links_now, elem_id="links"), gr.Markdown(card_now, elem_id="card")
        with gr.Tab("What this guarantees"):
            gr.Markdown(words.GUARANTEE)

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        name.change(reset_epsilon, name, [epsilon, strength], **private)
        gr.on([picture.change, name.change], show_certify, [picture, name, epsilon], [verdict, plot], **private)
        epsilon.change(None, epsilon, js="(value) => { window.setEpsilon(value); }", api_visibility="private")
        run.click(show_attack, [picture, name, strength], [outcome, path], **private)
        gr.on(
            [compare.select, first.change, second.change],
            show_comparison, [picture, first, second], [compared, curves], **private,
        )  # fmt: skip
        board.select(name_of_row, None, chosen, **private)
        chosen.change(show_card, chosen, [links, card], **private)

        # The API takes files through components, which check that they were uploaded.
        with gr.Row(visible=False):
            image, size, result = Picture(label="image"), gr.Textbox("36/255", label="epsilon"), gr.JSON(label="answer")
            model = gr.Dropdown(answers.names(), value=DEFAULT, label="model")
            gr.Button().click(certify_endpoint, [image, model, size], result, api_name="certify")
            if TORCH:
                gr.Button().click(attack_endpoint, [image, model, size], result, api_name="attack")
        gr.api(models_endpoint, api_name="models")
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE)


# The server.


def server() -> fastapi.FastAPI:
    """The page at /, the page that certifies in the browser at /browser/, and the published files below it."""
    app = fastapi.FastAPI(title=words.TITLE, docs_url=None, redoc_url=None, openapi_url=None)
    for name in answers.names():
        app.mount(f"/browser/models/{name}", StaticFiles(directory=answers.folder(name).path))
    app.mount("/browser", StaticFiles(directory=words.STATIC, html=True))
    return gr.mount_gradio_app(
        app, page(), "/", theme=words.THEME, css=words.CSS, head=words.HEAD, footer_links=["api"],
        max_file_size=MAX_BYTES, show_error=True, enable_monitoring=False, ssr_mode=False, run_history=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    options = parser.parse_args()
    uvicorn.run(server(), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
