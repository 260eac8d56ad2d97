"""Guard: what a request passes before the application sees it, and a response before it leaves."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tlkit.serve.metrics import Metrics
from tlkit.serve.refusal import ENDING, Refusal, too_busy
from tlkit.serve.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN = frozenset({"/", "/page.css", "/page.js", "/v2/health/live", "/v2/health/ready"})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
logger = logging.getLogger("tlkit.serve")


class Guard:
    """An ASGI middleware: hosts, token, size and time, headers, errors, metrics."""

    def __init__(
        self, app: Any, settings: Settings, metrics: Metrics, is_ending: Callable[[], bool]
    ) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
            settings: The settings.
            metrics: What counts requests.
            is_ending: Whether the service takes no more pictures.
        """
        self._app, self._settings, self._metrics = app, settings, metrics
        self._is_ending = is_ending
        self._held = 0
        metrics.watch("tlkit_body_bytes", "Bytes of the bodies that are held.", lambda: self._held)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request; HEAD as GET, whose body the HTTP server then leaves out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, held = time.perf_counter(), 0, 0
        seconds = self._settings.timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_ENCODED]
            await send(message)

        async def receive_in_time() -> Message:
            nonlocal held
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as err:
                raise Refusal(
                    408, f"The request did not arrive within {seconds:g} seconds."
                ) from err
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                self._check_size(held + size)
                held += size
                self._held += size
                if self._held > self._settings.max_held_bytes:
                    raise too_busy("The requests that are being answered are too large together.")
                if not message.get("more_body"):
                    limit.reschedule(loop.time() + seconds)
            return message

        routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            self._check(scope)
            async with asyncio.timeout(2 * seconds + 1) as limit:
                await self._app(routed, receive_in_time, send_safely)
        except TimeoutError:
            if not status:
                late = too_busy(f"There was no answer within {seconds:g} seconds.")
                await _answer(late, send_safely)
        except Refusal as err:
            if not status:
                await _answer(err, send_safely)
        except Exception:
            logger.exception("Error in %s %s", scope["method"], ascii(scope["path"]))
            if not status:
                failure = Refusal(500, "An error inside the service; its log says more.")
                await _answer(failure, send_safely)
        finally:
            self._held -= held
            route = routed.get("route")
            endpoint = getattr(route, "path", "other")
            method = scope["method"] if endpoint != "other" else "any"
            self._metrics.answered(endpoint, method, status, time.perf_counter() - began)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        posts = scope["method"] == "POST"
        host = headers.get(b"host", b"").decode("latin-1")
        if self._settings.loopback:
            _check_host(host)
        site = headers.get(b"sec-fetch-site", b"none")
        if posts and site not in (b"none", b"same-origin"):
            raise Refusal(403, "Pages of other sites may not send pictures to this service.")
        # Browsers do not send Sec-Fetch-Site to plain HTTP at other machines. Where they do, they
        # know better than the names: a proxy may have changed Host.
        if b"origin" in headers and site != b"same-origin":
            _check_origin(headers[b"origin"].decode("latin-1"), host)
        token = self._settings.token
        if token is not None and scope["path"] not in OPEN:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            same = hmac.compare_digest(given.strip(), token.encode())
            if not same or scheme.lower() != b"bearer":
                raise Refusal(
                    401,
                    "This service wants a token: the header 'Authorization: Bearer TOKEN'.",
                    {"WWW-Authenticate": "Bearer"},
                )
        if not posts:
            return
        if self._is_ending():
            refusal = too_busy(ENDING)
            refusal.headers["Connection"] = "close"
            raise refusal
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(415, "Compressed bodies are not read; send it as it is.")
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit():  # the HTTP parser refuses others
            self._check_size(int(announced))

    def _check_size(self, size: int) -> None:
        most = self._settings.max_body_bytes
        if size > most:
            raise Refusal(
                413, f"The body has more than {most:,} bytes, which are allowed (--max-body-mb)."
            )


def _check_host(host: str) -> None:
    """Refuse names that a stranger's page may have pointed at this machine (DNS rebinding)."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    if name.lower() != "localhost" and not _is_loopback(name):
        raise Refusal(
            421,
            f"The header Host is {host[:100]!r}; allowed are localhost, 127.0.0.1 and [::1], as "
            f"the service listens on this machine only.",
        )


def _check_origin(origin: str, host: str) -> None:
    """Refuse what a page of another site sends, or one that hides where it is from ("null")."""
    scheme, _, place = origin.lower().partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme, "")
    if not place or place.removesuffix(usual) != host.lower().removesuffix(usual):
        raise Refusal(
            403,
            f"The header Origin is {origin[:100]!r}; allowed is the page of this service alone, "
            f"whose address is that of the header Host, {host[:100]!r}. Programs leave Origin out.",
        )


def _is_loopback(name: str) -> bool:
    """Tell whether it is an address of this machine: no name, so that nobody can point it here."""
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.message}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in refusal.headers.items()},
    }
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
