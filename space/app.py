"""The Space: certified answers to look at. `make space` opens it, `python -m space.app` prints its address."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import typer
from gradio.events import api
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from space import answers, board, plots, words
from space.answers import DEFAULT
from space.endpoints import attack_endpoint, certify_endpoint, models_endpoint
from space.tabs import (
    restore,
    show_attack,
    show_board,
    show_card,
    show_certify,
    show_comparison,
    show_point,
    show_row,
    sliders,
    suit,
)
from space.uploads import picture_input
from zoo.cli.shell import run_script, source_of
from zoo.data.datasets import DATASETS
from zoo.errors import ZooError
from zoo.inference.images import MAX_IMAGE_BYTES
from zoo.publication.folder import SUMS
from zoo.registry import ENTRIES

SAMPLE_FOLDER = words.STATIC / "samples"
BROWSER = (words.STATIC / "ort").is_dir()  # the runtime of the page that certifies in the browser: `make static`
# The kinds of published files by the ends of their names; the end of SHA256SUMS is empty.
MEDIA = {"": "text/plain", ".json": "application/json", ".md": "text/markdown", ".png": "image/png"}
TORCH = find_spec("torch") is not None
QUEUE, AT_ONCE = 32, 2  # requests that may wait, and that are computed at the same time, of all visitors together
SHARED: dict[str, Any] = {"concurrency_id": "all"}  # or Gradio would limit each event of the page by itself


def introduction() -> str:
    return words.INTRODUCTION + words.IN_BROWSER * BROWSER


def page() -> gr.Blocks:
    limit, start = answers.last_epsilon(DEFAULT), round(answers.own_epsilon(DEFAULT), 3)
    first_sample = SAMPLE_FOLDER / f"{answers.SAMPLES[answers.family(DEFAULT)][1][0]}.png"
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
                    files = [[str(SAMPLE_FOLDER / f"{sample}.png")] for sample in pictures]
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
                dataset = gr.Dropdown(
                    board.datasets(), value=chosen.dataset, label="Data set", elem_id="dataset", min_width=300
                )
                norm = gr.Radio(norms, value=chosen.norm, label="Norm", elem_id="norm")
                size = gr.Radio(sizes, value=chosen.epsilon, label="epsilon", elem_id="size")
            table = gr.Dataframe(
                rows_now, column_widths=[320, 140, 90, 90, 90, 380], interactive=False, label="Models",
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
        # Gradio would decode a picture by its own rules, and refuse a filter that an answer on its way has changed:
        # with preprocess=False only zoo.inference.images decodes, and show_board takes what was offered before.
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
        gr.on(
            [dataset.input, norm.input, size.input],
            show_board,
            filters,
            [norm, size, table, scatter, links, card],
            **raw,
        )
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


def routes() -> list[BaseRoute]:
    """The page that certifies in the browser at /browser/, and the published files below it."""
    return [
        Route("/browser/page.json", lambda request: JSONResponse(answers.browser_page())),
        Route("/browser/models/{name}/{file}", published_file),
        Mount("/browser", StaticFiles(directory=words.STATIC, html=True)),
    ]


def published_file(request: Request) -> Response:
    """A published file of a model here, as it was checked; no other file that lies in its folder."""
    name, file = request.path_params["name"], request.path_params["file"]
    try:
        folder = answers.folder(name)
        tag = {SUMS: folder.digest, **folder.digests}[file]
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"etag": f'"{tag}"'})
        content = folder.sums if file == SUMS else folder.read(file)
    except (ZooError, KeyError) as error:
        raise HTTPException(404) from error
    headers = {"etag": f'"{tag}"', "x-content-type-options": "nosniff"}
    return Response(content, headers=headers, media_type=MEDIA.get(Path(file).suffix, "application/octet-stream"))


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
