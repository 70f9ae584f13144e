"""The JSON bodies of the server's own routes, as its OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from zoo.epsilon import parse_epsilon

Epsilon = Annotated[
    float,
    PlainValidator(parse_epsilon, json_schema_input_type=str | float),
    Field(description="A number or a fraction, such as 36/255.", examples=["36/255"]),
]
EncodedPicture = Annotated[str, Field(description="A PNG, JPEG or WebP file, as base64.", min_length=1)]
Shape = Annotated[list[int], Field(min_length=3, max_length=3, description="Channels, height, width.")]
RADIUS = "in the model's norm, pixels of [0, 1], the whole input at the model's own resolution; rounded down"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CertifyParameters(Strict):
    epsilon: Epsilon | None = None


class CertifyRequest(CertifyParameters):
    image: EncodedPicture


class CertifyAnswer(BaseModel):
    """What `zoo predict --json` says of one image, with the model that said it."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    model_digest: str = Field(description="sha256 of model.onnx, which has those of weights and certificate in it.")
    norm: str
    unit: str
    input_shape: Shape
    label: str | None = Field(description="null (abstention) where the radius is not above the epsilon asked for.")
    abstained: bool
    name: str = Field(description="The predicted class, certified or not.")
    index: int
    radius: float = Field(description=f"No smaller change of the input changes the label: {RADIUS}.")
    epsilon: float | None
    certified: bool | None = Field(description="Whether radius is above epsilon; null where none was asked for.")
    class_radii: list[float | None] = Field(
        description="The certified distance to each class, in the order of the model's labels; null at `index`."
    )
    topk_radius: list[float] = Field(description="Below the k-th of these the label stays among the k best.")
    proved: bool


class ClassificationParameters(CertifyParameters):
    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None


class ClassificationRequest(Strict):
    """What huggingface_hub's InferenceClient sends."""

    inputs: EncodedPicture
    parameters: ClassificationParameters | None = None


class Classification(BaseModel):
    """One class, best first. `certified_radius` is 0 for every class but the answer."""

    model_config = ConfigDict(protected_namespaces=())

    label: str
    score: float = Field(description="A softmax of the logits: what the client asks for, no probability of anything.")
    certified_radius: float = Field(description=f"No smaller change dethrones this label: {RADIUS}.")
    certified: bool = Field(description="Whether certified_radius is above epsilon.")
    epsilon: float
    model_digest: str


class ModelCard(BaseModel):
    """A served model with the numbers of its card."""

    name: str
    digest: str
    dataset: str
    norm: str
    unit: str
    input_shape: Shape
    classes: int
    epsilon: str = Field(
        description="What the model was made for. `certified` in an answer means this unless another is asked for."
    )
    clean_accuracy: float | None = Field(description="null where nothing was measured.")
    vra: dict[str, float] = Field(description="Verified-robust accuracy by epsilon.")
    acr: float | None
    images: int = Field(description="Test images that these were measured on.")
    license: str


class ModelDetails(ModelCard):
    labels: list[str]
    claim: str
    domain: str
    arithmetic: str
    body_lipschitz: float


class ModelList(BaseModel):
    models: list[ModelCard]


class Problem(BaseModel):
    error: str
    request_id: str
