"""Pictures: the addresses that take picture files, ``/predict`` and ``/explain``."""

# Annotations are no text here: FastAPI reads them, and some hold what a function is given.

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from tlkit.errors import did_you_mean
from tlkit.serve import schemas
from tlkit.serve.failures import POSTED
from tlkit.serve.openapi import TAKES_PICTURES
from tlkit.serve.refusal import Refusal
from tlkit.serve.service import Service
from tlkit.serve.uploads import read_upload
from tlkit.text import printable

_UPLOADS: dict[str, Any] = {
    "tags": ["pictures"],
    "responses": POSTED,
    "openapi_extra": TAKES_PICTURES,
}


def add_pictures(app: FastAPI, service: Service) -> None:
    """Add the addresses that take picture files to an application."""
    settings, class_names = service.settings, service.classifier.class_names
    classes, most = len(class_names), settings.max_pictures

    @app.post("/predict", **_UPLOADS)
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

    @app.post("/explain", **_UPLOADS)
    async def explain(
        request: Request,
        class_: Annotated[
            str | None,
            Query(
                alias="class",
                description="By default the most probable.",
                json_schema_extra={"enum": list(class_names)},
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


def _check_query(request: Request, *allowed: str) -> None:
    for name in request.query_params:
        if name not in allowed:
            raise Refusal(
                400,
                f"There is no query parameter '{printable(name, 50)}'."
                f"{did_you_mean(name[:50], allowed)} Allowed: {', '.join(allowed)}.",
            )
