"""Prints the fields of YAML documents, read from stdin, that an InferenceService of KServe's own SDK does not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import kserve.models
import yaml
from kubernetes import client


def unknown(value: Any, kind: str, path: str) -> Iterator[str]:
    """The fields of a document that KServe's or Kubernetes' own models do not have."""
    if kind.lower().startswith("list["):
        for index, item in enumerate(value):
            yield from unknown(item, kind[5:-1], f"{path}[{index}]")
    elif fields := getattr(getattr(kserve.models, kind, getattr(client, kind, None)), "attribute_map", None):
        types = getattr(kserve.models, kind, getattr(client, kind, None)).openapi_types
        names = {told: name for name, told in fields.items()}
        for key, item in value.items():
            if key in names:
                yield from unknown(item, types[names[key]], f"{path}.{key}")
            else:
                yield f"{path}.{key}"


if __name__ == "__main__":
    for document in yaml.safe_load_all(sys.stdin):
        for field in unknown(document, "V1beta1InferenceService", ""):
            print(field)
