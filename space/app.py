"""The Space: certified answers to look at. `make space` opens it, `python -m space.app` prints its address.

From top to bottom: what each tab shows, what the API answers, the page, the server.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode
from collections.abc import Callable
from functools import partial, wraps
from hashlib import sha256
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import gradio as gr
import typer
from gradio.events import api
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from space import answers, board, plots, words
from space.answers import DEFAULT
from space.attack import SIZES, attack, attacked_name
from zoo.cli.shell import run_script, source_of
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, ZooError
from zoo.inference.images import MAX_IMAGE_BYTES, as_batch
from zoo.registry import ENTRIES

SAMPLES = words.STATIC / "samples"
BROWSER = (words.STATIC / "ort").is_dir()  # the runtime of the page that certifies in the browser: `make static`
TORCH = find_spec("torch") is not None
QUEUE, AT_ONCE = 32, 2  # requests that may wait, and that are computed at the same time, of all visitors together
MAX_LINK = 2**16  # characters of a shared link; the picture of 64 x 64 pixels takes half as many at most
PROGRESS = gr.Progress()  # as the default of a parameter, by which Gradio passes the bar of each call
SHARED: dict[str, Any] = {"concurrency_id": "all"}  # or Gradio would limit each event of the page by itself


Upload = dict[str, Any] | None  # a file as Gradio hands it on


def path_of(upload: Upload) -> Path | None:
    """The path of an uploaded file. Raises InputError for other files of this machine, which some requests can name."""
    if not upload:
        return None
    path = Path(str(upload["path"])).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise InputError("the picture was not uploaded")
    return path


def picture_input(*value: str, **options: Any) -> gr.Image:
    """A gr.Image that takes uploads only; gr.Image itself would also fetch a URL that a caller names."""
    picture = gr.Image(*value, **options)
    move = picture.async_move_resource_to_block_cache

    async def move_upload(url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(str(url_or_file_path)):
            raise gr.Error("the picture was not uploaded", print_exception=False)
        return await move(url_or_file_path)

    picture.async_move_resource_to_block_cache = move_upload  # not a subclass, for which Gradio writes a .pyi file
    return picture


# What each tab shows: the answer, or what the user did wrong.


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
    file.write_bytes(content)
    return str(file), name, *sliders(name, epsilon)


def shared(link: str) -> tuple[str, float, bytes]:
    """Model, epsilon and picture of a shared link. Raises InputError for anything else."""
    values = dict(parse_qsl(link.lstrip("#")[:MAX_LINK], max_num_fields=8))
    try:
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
    """The filters, which offer only what has models, and the table and scatter of the models that they select."""
    norms = board.norms(dataset)
    offered = [offer(norms, norm)]
    norm = norm if norm in norms else norms[0]
    epsilons = board.epsilons(dataset, norm)
    offered.append(offer(epsilons, epsilon))
    epsilon = epsilon if epsilon in epsilons else epsilons[0]
    rows = board.rows(dataset, norm, epsilon)
    return *offered, rows, plots.scatter(rows, norm, epsilon)


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


# What the API answers: the same as plain values, or an error of one line.


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
    first_sample = SAMPLES / f"{answers.SAMPLES[answers.family(DEFAULT)][1][0]}.png"
    answer_now = answers.answer(first_sample, DEFAULT)
    examples = {}
    with gr.Blocks(title=words.TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(introduction())
        with gr.Tab("Certify"), gr.Row():
            with gr.Column(scale=3, min_width=300):
                verdict = gr.HTML(words.verdict(answer_now, start, limit), elem_id="verdict")
                epsilon = gr.Slider(
                    0, limit, start, step=0.001, label="epsilon", info=words.EPSILON, elem_id="epsilon"
                )  # fmt: skip
                distances = gr.HTML(words.distances(answer_now, start), elem_id="distances")
            with gr.Column(scale=2, min_width=300):
                picture = picture_input(
                    str(first_sample), label="Picture", sources=["upload", "webcam", "clipboard"], height=220,
                    image_mode=None, elem_id="picture", buttons=[], alt_text="The picture to certify",
                )  # fmt: skip
                gr.Markdown(words.ACCEPTED_PICTURES)
                name = gr.Dropdown(answers.names(), value=DEFAULT, label="Model", elem_id="model")
                for kind, pictures in answers.samples().items():
                    files = [[str(SAMPLES / f"{sample}.png")] for sample in pictures]
                    label = f"Drawn for this page, like {DATASETS[kind].title}"
                    examples[kind] = gr.Examples(files, picture, label=label, examples_per_page=len(files))
                share = gr.Button("Share", elem_id="share", size="sm")
                link = gr.Textbox(
                    label="Link", info=words.SHARE, interactive=False, buttons=["copy"], elem_id="link", max_lines=1
                )
        with gr.Tab("Attack"):
            gr.Markdown(words.ATTACK if TORCH else words.NO_TORCH)
            with gr.Row(visible=TORCH, equal_height=True):
                strength = gr.Slider(
                    0, 2 * limit, round(1.5 * limit, 3), step=0.001, label="strength", elem_id="strength", scale=4,
                    info="How large may the change be? In the norm and the unit of the radius.",
                )  # fmt: skip
                run = gr.Button("Attack", variant="primary", elem_id="run", scale=1)
            with gr.Row():
                with gr.Column(min_width=300):
                    outcome = gr.HTML(elem_id="outcome")
                with gr.Column(min_width=300):
                    path = gr.HTML(elem_id="path")
        with gr.Tab("Compare") as compare:
            gr.Markdown(words.COMPARE)
            with gr.Row():
                first = gr.Dropdown(answers.names(), value=DEFAULT, label="One model", elem_id="first")
                second = gr.Dropdown(answers.names(), value=answers.another(DEFAULT), label="Another", elem_id="second")
            with gr.Row():
                with gr.Column(min_width=300):
                    compared = gr.HTML(elem_id="compared")
                with gr.Column(min_width=300):
                    curves = gr.HTML(elem_id="curves")
        with gr.Tab("The zoo"):
            gr.Markdown(words.ZOO)
            chosen = ENTRIES[DEFAULT]
            norms, sizes = board.norms(chosen.dataset), board.epsilons(chosen.dataset, chosen.norm)
            rows_now = board.rows(chosen.dataset, chosen.norm, chosen.epsilon)
            with gr.Row():
                dataset = gr.Dropdown(board.datasets(), value=chosen.dataset, label="Data set", elem_id="dataset")
                norm = gr.Radio(norms, value=chosen.norm, label="Norm", elem_id="norm")
                size = gr.Radio(sizes, value=chosen.epsilon, label="epsilon", elem_id="size")
            table = gr.Dataframe(
                rows_now, column_widths=["30%", "13%", "8%", "8%", "8%", "33%"], interactive=False, label="Models",
                elem_id="board", max_height=420,
            )  # fmt: skip
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    scatter = gr.HTML(
                        plots.scatter(rows_now, chosen.norm, chosen.epsilon), elem_id="scatter", js_on_load=words.PRESS
                    )
                with gr.Column(scale=3, min_width=300):
                    links_now, card_now = show_card(DEFAULT)
                    links = gr.Markdown(links_now, elem_id="links")
                    card = gr.Markdown(card_now, elem_id="card", max_height=560)
        with gr.Tab("What this guarantees"):
            gr.Markdown(words.GUARANTEE)

        # Gradio would drop what a visitor does while an answer is on its way, and show the older answer for good.
        kept: dict[str, Any] = {"trigger_mode": "always_last", **SHARED}
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", **kept}
        # Gradio would decode a picture by its own rules: with preprocess=False only zoo.inference.images does.
        raw: dict[str, Any] = {**private, "preprocess": False}
        for kind, group in examples.items():
            group.dataset.click(partial(suit, kind), name, [name, epsilon, strength], **private)
        name.input(sliders, name, [epsilon, strength], **private)
        gr.on([picture.change, name.change], show_certify, [picture, name, epsilon], [verdict, distances], **raw)
        epsilon.change(None, epsilon, js="(value) => { window.setEpsilon(value); }", api_visibility="private")
        share.click(
            None, [name, epsilon], link, js="(...shown) => window.shareLink(...shown)", api_visibility="private"
        )
        blocks.load(
            restore,
            gr.Textbox(visible=False),
            [picture, name, epsilon, strength],
            js="() => [window.location.hash]",
            **private,
        )
        run.click(
            show_attack,
            [picture, name, strength],
            [outcome, path],
            show_progress_on=outcome,
            **{**raw, "show_progress": "full"},
        )
        gr.on(
            [compare.select, first.change, second.change],
            show_comparison, [picture, first, second], [compared, curves], **raw,
        )  # fmt: skip
        filters = [dataset, norm, size]
        gr.on([dataset.input, norm.input, size.input], show_board, filters, [norm, size, table, scatter], **private)
        table.select(show_row, None, [links, card], **private)
        scatter.click(show_point, None, [links, card], **private)

        # The API takes files through components, which check that they were uploaded.
        with gr.Row(visible=False):
            image, asked, result = (
                picture_input(label="image"),
                gr.Textbox("36/255", label="epsilon"),
                gr.JSON(label="answer"),
            )
            model = gr.Dropdown(answers.names(), value=DEFAULT, label="model")
            public: dict[str, Any] = {"preprocess": False, **SHARED}
            gr.Button().click(certify_endpoint, [image, model, asked], result, api_name="certify", **public)
            if TORCH:
                gr.Button().click(attack_endpoint, [image, model, asked], result, api_name="attack", **public)
        api(models_endpoint, api_name="models", **SHARED)
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE)


# The server.


def routes() -> list[BaseRoute]:
    """The page that certifies in the browser at /browser/, and the published files below it."""
    models = [(name, answers.folder(name).path) for name in answers.names()]
    return [
        Route("/browser/models.json", lambda request: JSONResponse(answers.in_browser())),
        *(Mount(f"/browser/models/{name}", StaticFiles(directory=path)) for name, path in models),
        Mount("/browser", StaticFiles(directory=words.STATIC, html=True)),
    ]


def has_display() -> bool:
    """Whether a browser that opens on this machine can be seen. Without a display, one in the terminal might start."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def main(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Models to offer as well: a folder, hf-hub:ORG/NAME@REVISION.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser too, where there is a display.")] = False,
) -> None:
    """Serve the demo on loopback, or where GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say, and print its address."""
    for source in sources or ():
        answers.add(source_of(source))
    assert isinstance(sys.stdout, TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # so that the address, which Gradio prints, does not wait in a pipe
    # gr.mount_gradio_app would not do: only in an app that was launched does Gradio check that files were uploaded.
    page().launch(
        theme=words.THEME, css=words.CSS, head=words.HEAD, footer_links=["api"], app_kwargs={"routes": routes()},
        max_file_size=MAX_IMAGE_BYTES, show_error=False, enable_monitoring=False, ssr_mode=False, run_history=False,
        share=False, inbrowser=show and has_display(),
    )  # fmt: skip


if __name__ == "__main__":
    run_script(main, "python -m space.app")
