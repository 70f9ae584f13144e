"""Bodies decoded from gzip or deflate, and pictures taken out of upload forms.

Both happen in memory only, and stop as soon as the limit is reached.
"""

from __future__ import annotations

import zlib

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from zoo.errors import InputError, one_line
from zoo.serve.problems import ENCODINGS, EncodingError, TooLongError

WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # RFC 9110, 8.4.1
FORM = "multipart/form-data"
MAX_FIELDS = 8  # parts of a form, the picture among them
FIELD_BYTES = 2**10


def coding(field: str) -> str | None:
    """The encoding that a Content-Encoding field names, None for no encoding. Raises EncodingError for another."""
    name = field.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WINDOWS:
        raise EncodingError(f"a body encoded as {name[:40]!r} is not decoded here: send it as it is, or in {ENCODINGS}")
    return name


def decoded(data: bytes, name: str, limit: int) -> bytes:
    """The data decoded, at most `limit` bytes. Raises InputError and TooLongError."""
    decoder = zlib.decompressobj(WINDOWS[name])
    try:
        result = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise InputError(f"the body is not {name}, as its Content-Encoding says: {one_line(error)}") from error
    if len(result) > limit:
        raise TooLongError(f"the decoded body is longer than {limit} bytes")
    if not decoder.eof:
        raise InputError(f"the body ends in the middle of its {name} data")
    if decoder.unused_data:
        raise InputError(f"the body goes on after the end of its {name} data")
    return result


def upload(data: bytes, content_type: str) -> tuple[bytes, dict[str, str]]:
    """The one file of a form, in a field of any name, and the form's other fields. Raises InputError."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if boundary is None:
        raise InputError(f"{FORM} without a boundary: let the client write the Content-Type itself")
    files: list[File] = []
    fields: dict[str, str] = {}
    ended: list[bool] = []

    def add_file(file: File) -> None:
        if files:
            raise InputError("the form has more than one file: send one picture a request")
        files.append(file)

    def add_field(field: Field) -> None:
        name = (field.field_name or b"").decode("utf-8", "replace")
        value = field.value or b""
        if name in fields or len(fields) == MAX_FIELDS or len(value) > FIELD_BYTES:
            raise InputError(
                f"the form's field {name[:40]!r} is given twice, is one too many or no short text; "
                "a picture is sent as a file (curl -F image=@FILE)"
            )
        fields[name] = value.decode("utf-8", "replace")

    try:
        config = {"MAX_MEMORY_FILE_SIZE": float("inf"), "UPLOAD_ERROR_ON_BAD_CTE": True}
        parser = FormParser(FORM, add_field, add_file, lambda: ended.append(True), boundary, config=config)
        parser.write(data)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise InputError(f"not a form ({FORM}): {one_line(error)}") from error
    if not ended:
        raise InputError(f"the form ({FORM}) has no end: its last boundary is missing")
    if not files:
        raise InputError("the form has no file: send the picture as one (curl -F image=@FILE)")
    content = files[0].file_object
    content.seek(0)
    return content.read(), fields
