"""What a hub answers is checked before huggingface_hub's client makes names of files of it.

The client joins an ETag, the id of a commit and the sha256 of a file to the path of its cache as they are, so that a
hostile hub or mirror could write anywhere on the disk.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoo.errors import HubError

# The client takes W, / and quotes off the ends: W.. would become the folder above.
NAME = re.compile(r'(W/)?"?(?!W)[A-Za-z0-9_+=-][A-Za-z0-9_+=.-]{0,127}"?')
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
HEADERS = {"ETag": NAME, "X-Linked-ETag": NAME, "X-Repo-Commit": COMMIT}
_lock = threading.Lock()


def guard_client() -> None:
    """Let huggingface_hub's clients, also those of a user's own factory, raise HubError for a hostile answer."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    with _lock:
        make = _http._GLOBAL_CLIENT_FACTORY  # which nothing public tells
        if not isinstance(make, _Guarded):
            set_client_factory(_Guarded(make))


@dataclass(frozen=True)
class _Guarded:
    """A factory of clients whose answers are checked."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        client = self.make()
        send = client.send

        def checked(request: Any, *, stream: bool = False, **options: Any) -> Any:
            answer = send(request, stream=stream, **options)
            if request.method == "HEAD":  # the only ones whose headers become names
                for name, form in HEADERS.items():
                    _check(name, answer.headers.get(name), form)
            elif not stream:  # a file is streamed
                _check_content(answer)
            return answer

        client.send = checked
        return client


def _check_content(answer: Any) -> None:
    """Raise HubError if the information on a repository, or a row of its tree, has a name that is none."""
    try:
        content = answer.json()
    except (ValueError, RecursionError):
        return  # the client cannot read it either
    for row in content if isinstance(content, list) else [content]:
        if isinstance(row, dict):
            _check("sha", row.get("sha"), COMMIT)
            if isinstance(lfs := row.get("lfs"), dict):
                _check("lfs.oid", lfs.get("oid"), SHA256)


def _check(what: str, value: object, form: re.Pattern[str]) -> None:
    if value is not None and not (isinstance(value, str) and form.fullmatch(value)):
        raise HubError(f"the hub's {what} is {value!r:.60}, which could lead out of the cache: use another hub")
