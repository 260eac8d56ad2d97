"""App: the service as an ASGI application, of all its addresses; its metrics and its page."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response

from tlkit import __version__
from tlkit.serve.failures import GUARDED, add_handlers
from tlkit.serve.guard import Guard
from tlkit.serve.metrics import CONTENT_TYPE
from tlkit.serve.openapi import with_the_rest
from tlkit.serve.pictures import add_pictures
from tlkit.serve.protocol import add_protocol
from tlkit.serve.service import Service
from tlkit.serve.settings import Settings

_PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)


def make_app(service: Service) -> Any:
    """Return the ASGI application of a service."""
    settings = service.settings
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
    add_handlers(app)
    add_protocol(app, service)
    add_pictures(app, service)
    _add_metrics(app, service)
    _add_page(app, settings)
    app.openapi = with_the_rest(app, settings.token is not None)  # type: ignore[method-assign]
    return Guard(app, settings, service.metrics, lambda: service.ending)


def _add_metrics(app: FastAPI, service: Service) -> None:
    @app.get(
        "/metrics",
        tags=["metrics"],
        response_class=Response,
        responses={
            **GUARDED,
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Counters in the text format of Prometheus.",
            },
        },
    )
    async def metrics() -> Response:
        """Give the metrics of Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI, settings: Settings) -> None:
    for name, kind in _PAGE.items():
        app.add_api_route(
            f"/{name}",
            _page_part(name or "index.html", kind, settings),
            include_in_schema=False,
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
