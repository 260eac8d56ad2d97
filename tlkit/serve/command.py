"""`tlkit serve`: from the command's options to a service that is ready, and its end."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.errors import ConfigError
from tlkit.screen import say
from tlkit.serve.settings import Settings, address_name, read_token, require_extra

if TYPE_CHECKING:
    from tlkit.documents.serve import Serving
    from tlkit.serve.connections import Server
    from tlkit.serve.service import Service


def prepare(
    folder: Path,
    *,
    engine: str = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    token_file: Path | None = None,
    **limits: Any,
) -> tuple[Serving, Callable[[], None]]:
    """Load a run's model and open the port.

    SIGTERM and Ctrl-C belong to the service when it returns, so that they end it in good order even
    before the function that serves is called, which gives them back.

    Args:
        folder: The run folder.
        engine: As for ``Classifier.open()``.
        host: The address to listen at.
        port: The port; 0 for any that is free.
        name: The model's name in addresses; by default the run's.
        token_file: The file with the token.
        limits: Further ``Settings``.

    Returns:
        What is said of the service, and a function that serves until SIGTERM or Ctrl-C; it returns
        when all that was taken is answered.

    Raises:
        PluginError: If the extra is not installed.
        ConfigError: If the address cannot be used, or a setting is not allowed.
        RunFolderError: If it is no finished run.
        EngineError: If the engine cannot run the model.
    """
    require_extra()
    from tlkit.classifier import Classifier
    from tlkit.documents.serve import Serving
    from tlkit.run_folder import load_run
    from tlkit.runtime import require_tensorflow_backend
    from tlkit.serve.service import Service

    token = read_token(token_file)
    run = load_run(folder)  # so that a wrong folder is told before TensorFlow starts
    listening = _listen(host, port)
    try:
        address = listening.getsockname()
        settings = Settings(
            name=address_name(run.info.name) if name is None else name,
            token=token,
            loopback=ipaddress.ip_address(address[0]).is_loopback,
            **limits,
        )
        # As many batches run at once as there are cores.
        require_tensorflow_backend(one_thread_per_operation=True)
        service = Service(Classifier.open(folder, engine), settings)
        service.warm_up()
        server = make_server(service)
    except BaseException:
        listening.close()
        raise
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    document = Serving(
        run=folder,
        url=f"http://{shown}:{address[1]}",
        model=settings.name,
        engine=service.classifier.engine,
        wants_token=token is not None,
        loopback=settings.loopback,
        max_batch=settings.max_batch,
        max_delay_ms=settings.max_delay_ms,
        max_body_bytes=settings.max_body_bytes,
        max_pictures=settings.max_pictures,
        timeout=settings.timeout,
    )
    signals = contextlib.ExitStack()
    signals.enter_context(server.capture_signals())

    def serve() -> None:
        with signals:
            serve_until_told(server, listening)

    return document, serve


def serve_until_told(server: Server, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C, and finish what was taken.

    Raises:
        KeyboardInterrupt: At a second Ctrl-C, which ends at once.
    """
    from tlkit.images import without_warnings

    with without_warnings(), listening:
        server.run([listening])
    if server.force_exit:
        raise KeyboardInterrupt("Interrupted before everything was answered.")
    count = server.work.answered
    with contextlib.suppress(OSError):  # nobody may read it any more, such as in a pipe
        say(f"Stopped: {count:,} {'request' if count == 1 else 'requests'} answered.")


def make_server(service: Service) -> Server:
    """Return the server of a service; ``run()`` takes a socket that listens."""
    import uvicorn

    from tlkit.serve.app import make_app
    from tlkit.serve.connections import MAX_HEAD_BYTES, LimitedProtocol, Limits, Server

    settings = service.settings
    limits = Limits(settings.timeout, settings.connections)
    service.metrics.watch("tlkit_connections", "Open connections.", lambda: len(limits.open))
    config = uvicorn.Config(
        make_app(service),
        http=functools.partial(LimitedProtocol, limits=limits),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        # Its own would close the handlers of all others, and with them files of theirs.
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )

    return Server(config, service)


def how_to_call(document: Serving) -> str:
    """Return lines that say how to call the service."""
    token = ' -H "Authorization: Bearer $TOKEN"' if document.wants_token else ""
    lines = [
        f"Serving {document.model} with {document.engine} at {document.url}  (Ctrl-C ends it)",
        f"  curl{token} -F file=@cat.jpg {document.url}/predict",
        f"  a page to drop pictures on: {document.url}/",
        f"  Open Inference Protocol: {document.url}/v2/models/{document.model}",
        f"  OpenAPI: {document.url}/openapi.json   metrics: {document.url}/metrics",
    ]
    return "\n".join(lines)


def warning(document: Serving) -> str | None:
    """Return what to say of a service that others can reach; None if it needs no word."""
    if document.loopback:
        return None
    told = "" if document.wants_token else ", and it wants no token: --token-file FILE"
    return (
        f"Warning: other machines can reach {document.url}{told}. The connection is not encrypted; "
        f"put a proxy with TLS before it."
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, UnicodeError) as err:
        # What create_server() raises repeats the address; other numbers are not the system's.
        known = isinstance(err, OSError) and not isinstance(err, socket.gaierror) and err.errno
        reason = os.strerror(known) if known else getattr(err, "strerror", None) or str(err)
        raise ConfigError(
            f"Cannot listen at {host}, port {port}: {reason}. Give another one with --host and "
            f"--port; --port 0 takes any that is free."
        ) from err
