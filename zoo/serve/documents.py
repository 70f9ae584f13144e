"""The JSON documents of the Open Inference Protocol, and of those of its extensions that are offered here.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and, for the extensions,
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, StrictInt

Parameters = dict[str, Any] | None


class Document(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class RequestTensor(Document):
    """One input. Its values are in `data`, nested or flat, or follow the JSON: `binary_data_size` bytes of them."""

    name: str
    shape: list[StrictInt]
    datatype: str = Field(description="FP32, values in [0, 1], or UINT8.")
    parameters: Parameters = None
    data: list[Any] | None = None


class RequestedOutput(Document):
    name: str
    parameters: Parameters = None


class InferenceRequest(Document):
    id: str | None = None
    parameters: Parameters = None
    inputs: list[RequestTensor]
    outputs: list[RequestedOutput] | None = Field(None, description="All, where none is named.")


class ResponseTensor(Document):
    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: list[Any] | None = None


class InferenceResponse(Document):
    model_name: str
    model_version: str
    id: str
    parameters: Parameters = None
    outputs: list[ResponseTensor]


class ServerMetadata(Document):
    name: str
    version: str
    extensions: list[str]


class ServerLive(Document):
    live: bool


class ServerReady(Document):
    ready: bool


class ModelNames(Document):
    models: list[str]


class ModelReady(Document):
    name: str
    ready: bool


class TensorMetadata(Document):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 for the number of images, and of ranks.")


class ModelMetadata(Document):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfiguration(Document):
    name: str
    data_type: str
    dims: list[int]


class ModelConfiguration(Document):
    """What matters of Triton's ModelConfig; `dims` come after the number of images, at most `max_batch_size`."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfiguration]
    output: list[TensorConfiguration]
    parameters: dict[str, Any]


class Spent(Document):
    count: int
    ns: int


class BatchStatistics(Document):
    batch_size: int
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent


class ModelStatistics(Document):
    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 for never.")
    inference_count: int = Field(description="Images answered.")
    execution_count: int = Field(description="Runs of the graph.")
    inference_stats: dict[str, Spent]
    batch_stats: list[BatchStatistics]


class ServerStatistics(Document):
    model_stats: list[ModelStatistics]


class IndexEntry(Document):
    name: str
    version: str
    state: str
    reason: str


class IndexRequest(Document):
    ready: bool = False


class Settings(RootModel[dict[str, Any]]):
    """Trace or log settings to change."""
