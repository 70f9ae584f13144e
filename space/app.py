"""The Space: certified answers to look at. `make space` opens it, `python -m space.app` prints its address.

From top to bottom: what each tab shows, what the API answers, the page, the server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import typer
from gradio.events import api
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from space import answers, plots, words
from space.answers import DEFAULT
from space.attack import attack, attacked_name
from zoo.cli.shell import run_script
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, ZooError
from zoo.inference.images import MAX_IMAGE_BYTES

SAMPLES = sorted((words.STATIC / "samples").glob("*.png"), key=lambda path: (path.stem.startswith("digit"), path.stem))
BROWSER = (words.STATIC / "ort").is_dir()  # the runtime of the page that certifies in the browser: `make static`
TORCH = find_spec("torch") is not None
QUEUE, AT_ONCE = 32, 2  # requests that may wait, and that are computed at the same time, of all visitors together
SHARED: dict[str, Any] = {"concurrency_id": "all"}  # else Gradio counts each event of the page by itself


Upload = dict[str, Any] | None  # a file as Gradio hands it on


def path_of(upload: Upload) -> Path | None:
    """Of an uploaded file. Raises InputError for any other file of this machine: Gradio lets some requests name one."""
    if not upload:
        return None
    path = Path(str(upload["path"])).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise InputError("the picture was not uploaded")
    return path


def picture_input(*value: str, **options: Any) -> gr.Image:
    """A gr.Image that takes uploads only: by itself it fetches the URL that a caller names."""
    picture = gr.Image(*value, **options)
    move = picture.async_move_resource_to_block_cache

    async def move_upload(url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(str(url_or_file_path)):
            raise gr.Error("the picture was not uploaded", print_exception=False)
        return await move(url_or_file_path)

    picture.async_move_resource_to_block_cache = move_upload  # not a subclass, for which Gradio writes a .pyi file
    return picture


# What each tab shows. A mistake of the user is told in the place of the answer.


def show_certify(picture: Upload, name: str, epsilon: float) -> tuple[str, str]:
    try:
        answer = answers.answer(path_of(picture), name)
    except ZooError as error:
        return words.problem(str(error)), ""
    return words.verdict(answer, epsilon, answers.last_epsilon(name)), plots.distances(answer)


def reset_epsilon(name: str) -> tuple[gr.Slider, gr.Slider]:
    """The sliders as they suit a model: from 0 to the radius that no test image reached."""
    limit, value = answers.last_epsilon(name), round(answers.own_epsilon(name), 3)
    return gr.Slider(maximum=limit, value=value), gr.Slider(maximum=2 * limit, value=round(1.5 * limit, 3))


def suit(sample: int, name: str) -> str:
    """The model for the sample that was chosen by its number."""
    return answers.suited(SAMPLES[sample], name)


def show_attack(picture: Upload, name: str, strength: float) -> tuple[str, str]:
    try:
        answer = answers.answer(path_of(picture), name)
        path = attack(answer, parse_epsilon(strength))
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


def leaderboard() -> str:
    epsilons = answers.epsilons()
    columns = ["model", "norm", "data", "clean %", *(f"VRA % at {epsilon}" for epsilon in epsilons)]
    rows = []
    for record in map(answers.record, answers.names()):
        rates = [record["clean_accuracy"], *(record["vra"].get(epsilon) for epsilon in epsilons)]
        percents = [None if rate is None else round(100 * rate, 2) for rate in rates]
        beside = [None, None, "no published row"]
        if paper := record["paper"]:
            beside = [paper["clean"], paper["vra"], f"{paper['model']}, VRA at {paper['epsilon']}"]
        row = [record["name"], record["norm"], record["dataset"], *percents]
        rows.append([*row, round(record["acr"], 4), record["parameters"], *beside])
    heads = [*columns, "ACR", "parameters", "paper clean %", "paper VRA %", "the paper's row"]
    return words.table(heads, rows)


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


# The page.


def introduction() -> str:
    return words.INTRODUCTION + words.IN_BROWSER * BROWSER


def page() -> gr.Blocks:
    limit, start = answers.last_epsilon(DEFAULT), round(answers.own_epsilon(DEFAULT), 3)
    answer_now = answers.answer(SAMPLES[0], DEFAULT)
    with gr.Blocks(title=words.TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(introduction())
        with gr.Tab("Certify"), gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = picture_input(
                    str(SAMPLES[0]), label="Picture", sources=["upload", "webcam", "clipboard"], height=260,
                    image_mode=None, elem_id="picture", buttons=[], alt_text="The picture to certify",
                )  # fmt: skip
                gr.Markdown(words.ACCEPTED_PICTURES)
                name = gr.Dropdown(answers.names(), value=DEFAULT, label="Model", elem_id="model")
                examples = gr.Examples(
                    [[str(path)] for path in SAMPLES], picture, label="Drawn for this page", examples_per_page=14
                )
            with gr.Column(scale=3, min_width=300):
                verdict = gr.HTML(words.verdict(answer_now, start, limit), elem_id="verdict")
                epsilon = gr.Slider(
                    0, limit, start, step=0.001, label="epsilon", info=words.EPSILON, elem_id="epsilon"
                )  # fmt: skip
                plot = gr.HTML(plots.distances(answer_now), elem_id="distances")
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
                first = gr.Dropdown(answers.names(), value=DEFAULT, label="One model", elem_id="first")
                second = gr.Dropdown(answers.names(), value=answers.another(DEFAULT), label="Another", elem_id="second")
            compared = gr.HTML(elem_id="compared")
            curves = gr.HTML(elem_id="curves")
        with gr.Tab("The zoo"):
            gr.Markdown(words.ZOO)
            gr.HTML(leaderboard(), elem_id="board", apply_default_css=False)
            links_now, card_now = show_card(DEFAULT)
            chosen = gr.Dropdown(answers.names(), value=DEFAULT, label="Card of", elem_id="chosen")
            links, card = gr.Markdown(links_now, elem_id="links"), gr.Markdown(card_now, elem_id="card")
        with gr.Tab("What this guarantees"):
            gr.Markdown(words.GUARANTEE)

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", **SHARED}
        # Gradio would decode a picture by its own rules: with preprocess=False only zoo.inference.images does.
        raw: dict[str, Any] = {**private, "preprocess": False}
        examples.dataset.click(suit, [examples.dataset, name], name, **raw)
        name.change(reset_epsilon, name, [epsilon, strength], **private)
        gr.on([picture.change, name.change], show_certify, [picture, name, epsilon], [verdict, plot], **raw)
        epsilon.change(None, epsilon, js="(value) => { window.setEpsilon(value); }", api_visibility="private")
        run.click(show_attack, [picture, name, strength], [outcome, path], **raw)
        gr.on(
            [compare.select, first.change, second.change],
            show_comparison, [picture, first, second], [compared, curves], **raw,
        )  # fmt: skip
        chosen.change(show_card, chosen, [links, card], **private)

        # The API takes files through components, which check that they were uploaded.
        with gr.Row(visible=False):
            image, size, result = (
                picture_input(label="image"),
                gr.Textbox("36/255", label="epsilon"),
                gr.JSON(label="answer"),
            )
            model = gr.Dropdown(answers.names(), value=DEFAULT, label="model")
            public: dict[str, Any] = {"preprocess": False, **SHARED}
            gr.Button().click(certify_endpoint, [image, model, size], result, api_name="certify", **public)
            if TORCH:
                gr.Button().click(attack_endpoint, [image, model, size], result, api_name="attack", **public)
        api(models_endpoint, api_name="models", **SHARED)
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE)


# The server.


def routes() -> list[Mount]:
    """The page that certifies in the browser at /browser/, and the published files below it."""
    models = [(name, answers.folder(name).path) for name in answers.names()]
    return [
        *(Mount(f"/browser/models/{name}", StaticFiles(directory=path)) for name, path in models),
        Mount("/browser", StaticFiles(directory=words.STATIC, html=True)),
    ]


def has_display() -> bool:
    """Whether a browser that is opened on this machine would be seen; elsewhere a terminal's browser might start."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def main(
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser too, where there is a display.")] = False,
) -> None:
    """Serve the demo on loopback, or where GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say, and print its address."""
    assert isinstance(sys.stdout, TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # the address is Gradio's to print, and must not wait in a pipe
    # Not gr.mount_gradio_app: only in an app that was launched does Gradio check that files were uploaded.
    page().launch(
        theme=words.THEME, css=words.CSS, head=words.HEAD, footer_links=["api"], app_kwargs={"routes": routes()},
        max_file_size=MAX_IMAGE_BYTES, show_error=False, enable_monitoring=False, ssr_mode=False, run_history=False,
        share=False, inbrowser=show and has_display(),
    )  # fmt: skip


if __name__ == "__main__":
    run_script(main, "python -m space.app")
