"""OpenAPI: bodies that are read as bytes, and the token, which FastAPI cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from tlkit.serve import schemas

PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_PICTURES: dict[str, Any] = {
    "required": True,
    "description": "A picture, or a form with files; PNG, JPEG, WebP, BMP, GIF or TIFF.",
    "content": {
        "image/*": PICTURE,
        "application/octet-stream": PICTURE,
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
_TENSORS: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}},
}
TAKES_PICTURES = {"requestBody": _PICTURES}
TAKES_TENSORS = {"requestBody": _TENSORS}


def with_the_rest(app: FastAPI, wants_token: bool) -> Any:
    """Return what makes the OpenAPI document of an application.

    Args:
        app: The application with all its addresses.
        wants_token: Whether callers need a token.
    """
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
