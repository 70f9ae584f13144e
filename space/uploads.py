"""Files that visitors upload, and no others: neither a file of this machine nor an address that a request names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like

from zoo.errors import InputError

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
