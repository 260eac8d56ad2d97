"""App: the addresses of the service."""

# Annotations are no text here: FastAPI reads them, and some hold what make_app() is given.

from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tlkit import __version__
from tlkit.errors import did_you_mean
from tlkit.serve import schemas, tensors
from tlkit.serve.guard import Guard
from tlkit.serve.metrics import CONTENT_TYPE
from tlkit.serve.refusal import ENDING, Refusal
from tlkit.serve.service import Picture, Service
from tlkit.serve.settings import Settings
from tlkit.serve.telling import tell_error
from tlkit.serve.uploads import read_upload
from tlkit.text import printable

VERSION = "1"
_SMALL = 32_768
_PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)
_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_PICTURES: dict[str, Any] = {
    "required": True,
    "description": "A picture, or a form with files; PNG, JPEG, WebP, BMP, GIF or TIFF.",
    "content": {
        "image/*": _PICTURE,
        "application/octet-stream": _PICTURE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                    }
                },
            }
        },
    },
}
_EXPLANATIONS = {
    400: "What was sent cannot be read.",
    401: "The token is missing or wrong.",
    403: "A page of another site sent it.",
    404: "There is no such model or address.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    415: "The body is compressed.",
    421: "The header Host names another machine.",
    503: "Too much to do, or the service is ending.",
}


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": schemas.Failure, "description": _EXPLANATIONS[status]}
        for status in statuses
    }


def make_app(service: Service) -> Any:
    """Return the ASGI application of a service."""
    settings = service.settings
    classes, most = len(service.classifier.class_names), settings.max_pictures

    app = FastAPI(
        title="tlkit serve",
        version=__version__,
        summary=f"Classifies pictures with the model {settings.name}.",
        # Their pages load scripts from a content delivery network.
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # New releases would send traces to where environment variables say; tlkit sends nothing.
        telemetry=_NO_TELEMETRY,
    )
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fail)
    guarded = _failures(401, 403, 408, 421)
    looks: dict[str, Any] = {"responses": guarded, "response_model_exclude_none": True}
    posts = {**guarded, **_failures(400, 413, 415, 503)}
    named: dict[str, Any] = {**looks, "responses": {**guarded, **_failures(404)}}
    Name = Annotated[str, Path(json_schema_extra={"enum": [settings.name]})]
    Version = Annotated[str, Path(json_schema_extra={"enum": [VERSION]})]

    def check(model: str, version: str = VERSION) -> None:
        if (model, version) != (settings.name, VERSION):
            raise Refusal(
                404,
                f"There is no model {model[:100]!r}, version {version[:20]!r}; served is "
                f"'{settings.name}', version '{VERSION}'.",
            )

    def why_not() -> str | None:
        return ENDING if service.ending else None

    @app.get("/v2/health/live", tags=["health"], responses=_failures(403, 408, 421))
    async def live() -> schemas.Live:
        """Tell whether the service answers."""
        return schemas.Live(live=True)

    @app.get(
        "/v2/health/ready",
        tags=["health"],
        responses={
            **_failures(403, 408, 421),
            503: {"model": schemas.ServerReady, "description": "The service is ending."},
        },
        response_model_exclude_none=True,
    )
    async def ready(response: Response) -> schemas.ServerReady:
        """Tell whether the service takes pictures."""
        response.status_code = 503 if service.ending else 200
        return schemas.ServerReady(live=True, ready=not service.ending, error=why_not())

    @app.get("/v2", tags=["metadata"], **looks)
    async def server_metadata() -> schemas.ServerMetadata:
        """Describe the service."""
        return schemas.ServerMetadata(
            name="tlkit", version=__version__, extensions=list(tensors.EXTENSIONS)
        )

    def describe() -> schemas.ModelMetadata:
        tensor = schemas.TensorMetadata
        classifier = service.classifier
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

    @app.get("/v2/models/{model}", tags=["metadata"], **named)
    async def model_metadata(model: Name) -> schemas.ModelMetadata:
        """Describe the model."""
        check(model)
        return describe()

    @app.get("/v2/models/{model}/versions/{version}", tags=["metadata"], **named)
    async def version_metadata(model: Name, version: Version) -> schemas.ModelMetadata:
        """Describe the model of a version."""
        check(model, version)
        return describe()

    unready: dict[int | str, dict[str, Any]] = {
        503: {"model": schemas.ModelReady, "description": "The service is ending."}
    }

    def model_is_ready(response: Response) -> schemas.ModelReady:
        response.status_code = 503 if service.ending else 200
        ready = not service.ending
        return schemas.ModelReady(name=settings.name, ready=ready, error=why_not())

    @app.get(
        "/v2/models/{model}/ready",
        tags=["health"],
        responses={**guarded, **_failures(404), **unready},
        response_model_exclude_none=True,
    )
    async def model_ready(model: Name, response: Response) -> schemas.ModelReady:
        """Tell whether the model takes pictures."""
        check(model)
        return model_is_ready(response)

    @app.get(
        "/v2/models/{model}/versions/{version}/ready",
        tags=["health"],
        responses={**guarded, **_failures(404), **unready},
        response_model_exclude_none=True,
    )
    async def version_ready(
        model: Name, version: Version, response: Response
    ) -> schemas.ModelReady:
        """Tell whether the model of a version takes pictures."""
        check(model, version)
        return model_is_ready(response)

    async def infer(request: Request) -> Response:
        body = await request.body()
        header = request.headers.get(tensors.HEADER)
        if len(body) <= _SMALL:  # the way to a thread and back would take longer
            found = tensors.read_request(body, header, most)
        else:
            found = await service.in_thread(lambda: tensors.read_request(body, header, most))
        wanted = tensors.check_outputs(found.request, classes)
        probabilities = await service.classify([Picture("", item) for item in found.pictures])
        content, size = tensors.write_response(
            settings.name, VERSION, found, wanted, probabilities, service.classifier.class_names
        )
        if size is None:
            return Response(content, media_type="application/json")
        return Response(
            content, media_type="application/octet-stream", headers={tensors.HEADER: str(size)}
        )

    inference: dict[str, Any] = {
        "tags": ["inference"],
        "responses": {
            **posts,
            **_failures(404),
            200: {
                "model": schemas.InferenceResponse,
                "content": {"application/octet-stream": _PICTURE},
                "description": "The outputs; with binary ones the JSON comes first, and the header "
                "Inference-Header-Content-Length says how long it is.",
            },
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/InferenceRequest"}
                    }
                },
            }
        },
    }

    @app.post("/v2/models/{model}/infer", **inference)
    async def infer_model(model: Name, request: Request) -> Response:
        """Classify tensors of pixels, or encoded pictures."""
        check(model)
        return await infer(request)

    @app.post("/v2/models/{model}/versions/{version}/infer", **inference)
    async def infer_version(model: Name, version: Version, request: Request) -> Response:
        """Classify with the model of a version."""
        check(model, version)
        return await infer(request)

    uploads: dict[str, Any] = {
        "tags": ["pictures"],
        "responses": posts,
        "openapi_extra": {"requestBody": _PICTURES},
    }

    @app.post("/predict", **uploads)
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=classes, description="How many classes to give.")] = min(
            3, classes
        ),
    ) -> schemas.Predictions:
        """Classify a picture, or the files of a form."""
        _check_query(request, "top")
        pictures = await read_upload(request, most)
        found = await service.classify(pictures)
        predictions = []
        for picture, probabilities in zip(pictures, found, strict=True):
            names, confidences = service.top(probabilities, top)
            predictions.append(
                schemas.Prediction(name=picture.name, classes=names, confidences=confidences)
            )
        return schemas.Predictions(model=settings.name, predictions=predictions)

    @app.post("/explain", **uploads)
    async def explain(
        request: Request,
        class_: Annotated[
            str | None,
            Query(
                alias="class",
                description="By default the most probable.",
                json_schema_extra={"enum": list(service.classifier.class_names)},
            ),
        ] = None,
        top: Annotated[int, Query(ge=1, le=classes, description="How many classes to give.")] = min(
            5, classes
        ),
    ) -> schemas.Explained:
        """Classify one picture and show where the evidence lies (Grad-CAM)."""
        _check_query(request, "class", "top")
        pictures = await read_upload(request, most)
        if len(pictures) != 1:
            raise Refusal(400, f"The form has {len(pictures)} files; one is explained at a time.")
        found, explained, heat, reason = await service.explain(pictures[0], class_)
        names, confidences = service.top(found, top)
        return schemas.Explained(
            model=settings.name,
            classes=names,
            confidences=confidences,
            explained=explained,
            method="grad-cam",
            heat=heat,
            reason=reason,
        )

    @app.get(
        "/metrics",
        tags=["metrics"],
        response_class=Response,
        responses={
            **guarded,
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Counters in the text format of Prometheus.",
            },
        },
    )
    async def metrics() -> Response:
        """Give the metrics of Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    for name, kind in _PAGE.items():
        app.add_api_route(
            f"/{name}",
            _page_part(name or "index.html", kind, settings),
            include_in_schema=False,
        )
    app.openapi = _with_the_rest(app, settings.token is not None)  # type: ignore[method-assign]
    return Guard(app, settings, service.metrics, lambda: service.ending)


def _check_query(request: Request, *allowed: str) -> None:
    for name in request.query_params:
        if name not in allowed:
            raise Refusal(
                400,
                f"There is no query parameter '{printable(name, 50)}'."
                f"{did_you_mean(name[:50], allowed)} Allowed: {', '.join(allowed)}.",
            )


def _page_part(name: str, kind: str, settings: Settings) -> Any:
    content = (files("tlkit.serve") / "page" / name).read_text(encoding="utf-8")
    if name == "index.html":
        hidden = {True: "hidden", False: ""}
        for place, text in (
            ("{model}", settings.name),  # which needs no escaping: see Settings
            ("{links}", hidden[settings.token is not None]),
            ("{addresses}", hidden[settings.token is None]),
        ):
            content = content.replace(place, text)

    async def part() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8")

    return part


def _with_the_rest(app: FastAPI, wants_token: bool) -> Any:
    """Return what makes the OpenAPI document: bodies that are read as bytes, and the token."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        parts = document["components"]["schemas"]
        request = schemas.InferenceRequest.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        parts |= request.pop("$defs")
        parts["InferenceRequest"] = request
        for unused in ("HTTPValidationError", "ValidationError"):
            parts.pop(unused, None)
        for path, methods in document["paths"].items():
            for operation in methods.values():
                operation["responses"].pop("422", None)
                if wants_token and not path.startswith("/v2/health"):
                    operation["security"] = [{"token": []}]
        if wants_token:
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            document["components"]["securitySchemes"] = schemes
        return document

    return openapi


def _refuse(request: Request, err: Exception) -> Response:
    assert isinstance(err, Refusal)
    return JSONResponse({"error": err.message}, err.status, err.headers)


def _http_error(request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    text = {404: "There is nothing at this address.", 405: "This method is not allowed here."}
    message = text.get(err.status_code, str(err.detail))
    return JSONResponse({"error": message}, err.status_code, err.headers)


def _invalid(request: Request, err: Exception) -> Response:
    assert isinstance(err, RequestValidationError)
    first = err.errors()[0]
    message = printable(tell_error(first, str(first["loc"][-1])), 300)
    return JSONResponse({"error": f"{message}."}, 400)


def _fail(request: Request, err: Exception) -> Response:
    # The guard logs it.
    return JSONResponse({"error": "An error inside the service; its log says more."}, 500)
