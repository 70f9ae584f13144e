"""A certified model for users of huggingface_hub's `PyTorchModelHubMixin`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download

from zoo.certificate.model import CertifiedModel
from zoo.errors import CertificateError, InputError
from zoo.files import write_whole
from zoo.guard import guard_client
from zoo.hub.client import LOCAL, contents, push
from zoo.publication.folder import PATTERNS, SUMS, Folder, read_folder
from zoo.publication.network import load_module, load_weights


class HubModel(CertifiedModel, PyTorchModelHubMixin, library_name="certified-zoo"):
    """A `CertifiedModel` with `from_pretrained`, `save_pretrained` and `push_to_hub`, of published folders only.

    The mixin itself loads the tensors that fit (`strict=False`), and unpickles `pytorch_model.bin` if there is no
    safetensors file; neither may happen to a certified model. Here every file is checked as `zoo.load` checks it, every
    tensor must be there, and the published bytes are what is saved or pushed.
    """

    folder: Folder

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
        """As the mixin's, which fetches config.json before it calls `_from_pretrained`."""
        guard_client()
        return super().from_pretrained(*arguments, **options)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
        precision: str = "float64",
        **options: Any,
    ) -> HubModel:
        """The model of a repository or a folder. Raises ZooError, or the client's errors where it cannot be had."""
        for shared in ("norm", "input_shape"):  # the base class passes on what config.json shares with our __init__
            options.pop(shared, None)
        if options:
            raise InputError(f"a published model takes no option {min(options)!r}: its sizes are its certificate's")
        if strict is not True:
            raise InputError(f"strict must be True, got {strict!r}: a certificate speaks of all weights")
        if precision not in ("float64", "float32"):
            raise InputError(f"precision must be 'float64' or 'float32', got {precision!r}")
        path = Path(model_id)
        if not path.is_dir():
            path = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[*PATTERNS],
                )
            )
        folder = read_folder(path)
        model = load_module(folder, precision, map_location, cls)
        assert isinstance(model, cls)
        model.folder = folder
        return model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the published files, SHA256SUMS last, in the place of those of a model that the folder may hold.

        Raises CertificateError if the weights are no longer those of the files.
        """
        if options:
            raise InputError(f"save_pretrained of a certified model has no option {min(options)!r}")
        self._check_weights()
        files, folder = dict(contents(self.folder)), Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name not in files and any(fnmatchcase(path.name, pattern) for pattern in PATTERNS):
                path.unlink()
        for name in sorted(files, key=lambda name: name == SUMS):
            write_whole(folder / name, files[name])

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, **options: Any) -> str:
        """Call `zoo.push`, which first proves the certificate again; return the source `hf-hub:ORG/NAME@COMMIT`."""
        if options:
            raise InputError(f"push_to_hub of a certified model has no option {min(options)!r}: see zoo.push")
        self._check_weights()
        return push(f"{LOCAL}{self.folder.path}", repo_id, bool(private))

    def _check_weights(self) -> None:
        published, mine = load_weights(self.folder.weights()), self.network.state_dict()
        if set(published) != set(mine) or not all(torch.equal(published[name], mine[name].cpu()) for name in mine):
            raise CertificateError(
                "the weights were changed since they were loaded: train, export and certify them anew"
            )
