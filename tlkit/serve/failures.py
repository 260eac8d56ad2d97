"""Failures: what is answered where something went wrong, and how the OpenAPI document tells it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tlkit.serve import schemas
from tlkit.serve.refusal import Refusal
from tlkit.serve.telling import tell_error
from tlkit.text import printable

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


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of an address that may answer with these HTTP statuses."""
    return {
        status: {"model": schemas.Failure, "description": _EXPLANATIONS[status]}
        for status in statuses
    }


# What the guard may answer at any address, and what one that takes pictures may answer too.
GUARDED = failures(401, 403, 408, 421)
POSTED = {**GUARDED, **failures(400, 413, 415, 503)}


def add_handlers(app: FastAPI) -> None:
    """Let an application answer every error with one line of JSON."""
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fail)


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
