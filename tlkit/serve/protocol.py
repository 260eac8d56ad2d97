"""Protocol: the addresses of the Open Inference Protocol, below ``/v2``."""

# Annotations are no text here: FastAPI reads them, and some hold what a function is given.

from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response

from tlkit import __version__
from tlkit.serve import schemas, tensors
from tlkit.serve.failures import GUARDED, POSTED, failures
from tlkit.serve.openapi import PICTURE, TAKES_TENSORS
from tlkit.serve.refusal import ENDING, Refusal
from tlkit.serve.service import Picture, Service
from tlkit.serve.settings import Settings

VERSION = "1"
_SMALL = 32_768
_METADATA: dict[str, Any] = {"tags": ["metadata"], "response_model_exclude_none": True}
_READINESS: dict[str, Any] = {
    "tags": ["health"],
    "responses": {
        **GUARDED,
        **failures(404),
        503: {"model": schemas.ModelReady, "description": "The service is ending."},
    },
    "response_model_exclude_none": True,
}
_INFERENCE: dict[str, Any] = {
    "tags": ["inference"],
    "responses": {
        **POSTED,
        **failures(404),
        200: {
            "model": schemas.InferenceResponse,
            "content": {"application/octet-stream": PICTURE},
            "description": "The outputs; with binary ones the JSON comes first, and the header "
            "Inference-Header-Content-Length says how long it is.",
        },
    },
    "openapi_extra": TAKES_TENSORS,
}


def add_protocol(app: FastAPI, service: Service) -> None:
    """Add the addresses of the Open Inference Protocol to an application."""
    _add_server(app, service)
    _add_metadata(app, service)
    _add_readiness(app, service)
    _add_inference(app, service)


def _add_server(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live", tags=["health"], responses=failures(403, 408, 421))
    async def live() -> schemas.Live:
        """Tell whether the service answers."""
        return schemas.Live(live=True)

    @app.get(
        "/v2/health/ready",
        tags=["health"],
        responses={
            **failures(403, 408, 421),
            503: {"model": schemas.ServerReady, "description": "The service is ending."},
        },
        response_model_exclude_none=True,
    )
    async def ready(response: Response) -> schemas.ServerReady:
        """Tell whether the service takes pictures."""
        response.status_code = 503 if service.ending else 200
        return schemas.ServerReady(live=True, ready=not service.ending, error=_why_not(service))

    @app.get("/v2", responses=GUARDED, **_METADATA)
    async def server_metadata() -> schemas.ServerMetadata:
        """Describe the service."""
        return schemas.ServerMetadata(
            name="tlkit", version=__version__, extensions=list(tensors.EXTENSIONS)
        )


def _add_metadata(app: FastAPI, service: Service) -> None:
    settings = service.settings
    named: dict[str, Any] = {**_METADATA, "responses": {**GUARDED, **failures(404)}}
    Name = Annotated[str, Path(json_schema_extra={"enum": [settings.name]})]
    Version = Annotated[str, Path(json_schema_extra={"enum": [VERSION]})]

    @app.get("/v2/models/{model}", **named)
    async def model_metadata(model: Name) -> schemas.ModelMetadata:
        """Describe the model."""
        _check(settings, model)
        return _describe(service)

    @app.get("/v2/models/{model}/versions/{version}", **named)
    async def version_metadata(model: Name, version: Version) -> schemas.ModelMetadata:
        """Describe the model of a version."""
        _check(settings, model, version)
        return _describe(service)


def _add_readiness(app: FastAPI, service: Service) -> None:
    settings = service.settings
    Name = Annotated[str, Path(json_schema_extra={"enum": [settings.name]})]
    Version = Annotated[str, Path(json_schema_extra={"enum": [VERSION]})]

    def model_is_ready(response: Response) -> schemas.ModelReady:
        response.status_code = 503 if service.ending else 200
        ready = not service.ending
        return schemas.ModelReady(name=settings.name, ready=ready, error=_why_not(service))

    @app.get("/v2/models/{model}/ready", **_READINESS)
    async def model_ready(model: Name, response: Response) -> schemas.ModelReady:
        """Tell whether the model takes pictures."""
        _check(settings, model)
        return model_is_ready(response)

    @app.get("/v2/models/{model}/versions/{version}/ready", **_READINESS)
    async def version_ready(
        model: Name, version: Version, response: Response
    ) -> schemas.ModelReady:
        """Tell whether the model of a version takes pictures."""
        _check(settings, model, version)
        return model_is_ready(response)


def _add_inference(app: FastAPI, service: Service) -> None:
    settings = service.settings
    Name = Annotated[str, Path(json_schema_extra={"enum": [settings.name]})]
    Version = Annotated[str, Path(json_schema_extra={"enum": [VERSION]})]

    @app.post("/v2/models/{model}/infer", **_INFERENCE)
    async def infer_model(model: Name, request: Request) -> Response:
        """Classify tensors of pixels, or encoded pictures."""
        _check(settings, model)
        return await _infer(service, request)

    @app.post("/v2/models/{model}/versions/{version}/infer", **_INFERENCE)
    async def infer_version(model: Name, version: Version, request: Request) -> Response:
        """Classify with the model of a version."""
        _check(settings, model, version)
        return await _infer(service, request)


def _check(settings: Settings, model: str, version: str = VERSION) -> None:
    if (model, version) != (settings.name, VERSION):
        raise Refusal(
            404,
            f"There is no model {model[:100]!r}, version {version[:20]!r}; served is "
            f"'{settings.name}', version '{VERSION}'.",
        )


def _why_not(service: Service) -> str | None:
    return ENDING if service.ending else None


def _describe(service: Service) -> schemas.ModelMetadata:
    tensor = schemas.TensorMetadata
    settings, classifier = service.settings, service.classifier
    classes = len(classifier.class_names)
    return schemas.ModelMetadata(
        name=settings.name,
        versions=[VERSION],
        platform="tlkit",
        inputs=[tensor(name=tensors.INPUT, datatype="UINT8", shape=[-1, -1, -1, 3])],
        outputs=[
            tensor(name="probabilities", datatype="FP32", shape=[-1, classes]),
            tensor(name="class_name", datatype="BYTES", shape=[-1]),
        ],
        parameters={
            "class_names": list(classifier.class_names),
            "engine": classifier.engine,
            "image_size": classifier.image_size,
            "run": classifier.run.info.name,
            "also_takes": ["FP32 [-1, -1, -1, 3]", "BYTES [-1]"],
            "max_pictures": settings.max_pictures,
            "max_body_bytes": settings.max_body_bytes,
        },
    )


async def _infer(service: Service, request: Request) -> Response:
    most, names = service.settings.max_pictures, service.classifier.class_names
    body = await request.body()
    header = request.headers.get(tensors.HEADER)
    if len(body) <= _SMALL:  # the way to a thread and back would take longer
        found = tensors.read_request(body, header, most)
    else:
        found = await service.in_thread(lambda: tensors.read_request(body, header, most))
    wanted = tensors.check_outputs(found.request, len(names))
    probabilities = await service.classify([Picture("", item) for item in found.pictures])
    content, size = tensors.write_response(
        service.settings.name, VERSION, found, wanted, probabilities, names
    )
    if size is None:
        return Response(content, media_type="application/json")
    return Response(
        content, media_type="application/octet-stream", headers={tensors.HEADER: str(size)}
    )
