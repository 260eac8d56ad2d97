"""Schemas: the JSON that the service takes and gives, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

Parameter = StrictBool | StrictInt | StrictFloat | StrictStr
Parameters = dict[str, Parameter]
Side = Annotated[int, Field(strict=True, ge=1, le=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
_NOT_READY = "Why it is not ready; missing if it is."
TENSOR_DATA: dict[str, Any] = {
    "type": "array",
    "description": "The elements in row-major order, nested as the shape says or flat: whole "
    "numbers 0 to 255 for UINT8, numbers 0 to 255 for FP32, encoded pictures in base64 for BYTES.",
    "items": {},
}


class Failure(BaseModel):
    """Why a request got no answer."""

    error: str = Field(description="What was received, what is allowed, what to do.")


class Live(BaseModel):
    """Whether the service answers."""

    live: bool


class ServerReady(BaseModel):
    """Whether the service takes pictures; it stops when it is told to end."""

    live: bool
    ready: bool
    error: str | None = Field(default=None, description=_NOT_READY)


class ModelReady(BaseModel):
    """Whether the model takes pictures."""

    name: str
    ready: bool
    error: str | None = Field(default=None, description=_NOT_READY)


class ServerMetadata(BaseModel):
    """What serves."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 for a side of any length.")


class ModelMetadata(BaseModel):
    """What is served."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = Field(description="The classes, the engine, the run.")


class InputTensor(BaseModel):
    """Pictures: RGB pixels (N, height, width, 3), or N encoded files."""

    name: Literal["images"]
    shape: list[Side] = Field(min_length=1, max_length=4)
    datatype: Literal["UINT8", "FP32", "BYTES"]
    parameters: Parameters = Field(
        default={}, description="binary_data_size: bytes of this tensor after the JSON."
    )
    data: Annotated[list[Any] | None, Field(json_schema_extra=TENSOR_DATA)] = None


class WantedOutput(BaseModel):
    """An output to return."""

    name: Literal["probabilities", "class_name"]
    parameters: Parameters = Field(
        default={},
        description="classification: so many of the most probable classes as "
        "'probability:index:name'; binary_data: after the JSON instead of in it.",
    )


class InferenceRequest(BaseModel):
    """A request of the Open Inference Protocol."""

    id: StrictStr | None = None
    parameters: Parameters = Field(
        default={}, description="binary_data_output: every output after the JSON."
    )
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] = Field(
        default=[], max_length=16, description="All outputs if there are none."
    )


class OutputTensor(BaseModel):
    """One output."""

    name: str
    shape: list[int]
    datatype: Literal["FP32", "BYTES"]
    parameters: Parameters | None = None
    data: list[float] | list[str] | None = Field(
        default=None, description="Row-major; missing where it follows the JSON."
    )


class InferenceResponse(BaseModel):
    """A response of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputTensor]


class Prediction(BaseModel):
    """What the model says of one picture."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    name: str = Field(description="The file's name as it was sent; empty for a plain body.")
    classes: list[str] = Field(description="The most probable classes, the most probable first.")
    confidences: list[Share] = Field(description="Their probabilities, 0 to 1.")


class Predictions(BaseModel):
    """What the model says of the pictures, in their order."""

    model: str
    predictions: list[Prediction]


class Explained(BaseModel):
    """What the model says of one picture, and where it looked."""

    model: str
    classes: list[str] = Field(description="The most probable classes, the most probable first.")
    confidences: list[Share] = Field(description="Their probabilities, 0 to 1.")
    explained: str = Field(description="The class whose evidence is shown.")
    method: Literal["grad-cam"]
    heat: str | None = Field(
        description="A transparent PNG in base64, to be stretched over the picture; null if the "
        "answer cannot be explained."
    )
    reason: str | None = Field(description="Why there is none; null if there is one.")
