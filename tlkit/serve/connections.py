"""Connections: how many there are, and how long each may take.

uvicorn waits without end for the rest of a request, and for a client that does not read; what it
has against it is a time for idle connections only. Here a request that does not arrive in time ends
its connection, and when there are too many connections, the one that has kept the server waiting
longest makes room: those who send nothing cannot shut out those who do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tlkit.screen import say

MAX_HEAD_BYTES = 32_768
_HEAD_SECONDS, _CLOSING_SECONDS = 10.0, 1.0


class Limits:
    """What all connections of a server have in common.

    Attributes:
        seconds: For a request to arrive.
        most: Most connections at once.
        open: The connections, the oldest first.
    """

    def __init__(self, seconds: float, most: int) -> None:
        """Keep both."""
        self.seconds, self.most = seconds, most
        self.open: dict[LimitedProtocol, None] = {}

    def make_room(self) -> LimitedProtocol | None:
        """Return the connection that has to go for a new one; None if there is room."""
        if len(self.open) <= self.most:
            return None
        waiting = [item for item in self.open if item.waiting_since is not None]
        return min(waiting, key=lambda item: item.waiting_since or 0.0, default=[*self.open][-1])


class LimitedProtocol(H11Protocol):
    """A connection whose requests must arrive in time, and whose responses must be read.

    Attributes:
        waiting_since: When the server began to wait for what the client sends; None while it works
            on an answer.
    """

    def __init__(self, *args: Any, limits: Limits, **settings: Any) -> None:
        """Take what uvicorn gives, and the limits."""
        super().__init__(*args, **settings)
        self.waiting_since: float | None = None
        self._limits = limits
        self._part = ""
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of a request."""
        super().connection_made(transport)
        # asyncio does so only where a socket was made with a protocol's number. Without it the body
        # of a response waits until the client confirms its headers: 40 ms on Linux.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._limits.open[self] = None
        self._follow()
        loser = self._limits.make_room()
        if loser is not None:
            loser.refuse(503, "Too many connections. Try again later.")

    def data_received(self, data: bytes) -> None:
        """Note which part of a request is missing."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait for the client to take the response, and for the next request."""
        super().on_response_complete()
        self._follow()
        if self.transport.get_write_buffer_size():
            self._abort_after(self._limits.seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._limits.open.pop(self, None)
        super().connection_lost(exc)
        for timer in (self._timer, self._closing):
            if timer is not None:
                timer.cancel()

    def refuse(self, status: int, message: str) -> None:
        """Close the connection; where no response has begun, say why."""
        if self.transport.is_closing():
            return
        if self.cycle is None or (self.cycle.response_complete and self._part == "head"):
            body = json.dumps({"error": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
                *([("retry-after", "1")] if status == 503 else []),
            ]
            with contextlib.suppress(h11.LocalProtocolError):
                self.transport.write(
                    (self.conn.send(h11.Response(status_code=status, headers=headers)) or b"")
                    + (self.conn.send(h11.Data(data=body)) or b"")
                )
        self._limits.open.pop(self, None)
        self.transport.close()
        self._abort_after(_CLOSING_SECONDS)

    def _follow(self) -> None:
        state = self.conn.their_state
        unread = bool(self.conn.trailing_data[0])
        idle = self.cycle is not None and state is h11.IDLE and not unread
        part = {h11.IDLE: "head", h11.SEND_BODY: "body"}.get(state, "")
        if part and not idle:
            if part == self._part:  # one clock for the whole part, however it trickles in
                return
            # The application tells of a late body; this is for what it does not wait for.
            seconds = self._limits.seconds
            self._wait(part, min(_HEAD_SECONDS, seconds) if part == "head" else seconds + 1)
        else:
            self._wait("", None)
            if idle:
                self.waiting_since = self.loop.time()

    def _wait(self, part: str, seconds: float | None) -> None:
        self._part = part
        if self._timer is not None:
            self._timer.cancel()
        if seconds is None:
            self._timer = self.waiting_since = None
        else:
            self.waiting_since = self.loop.time()
            self._timer = self.loop.call_later(
                seconds, self.refuse, 408, "The request did not arrive in time."
            )

    def _abort_after(self, seconds: float) -> None:
        def abort() -> None:
            if self.transport.get_write_buffer_size() or self.transport.is_closing():
                self.transport.abort()

        if self._closing is not None:
            self._closing.cancel()
        self._closing = self.loop.call_later(seconds, abort)


class Work(Protocol):
    """What a server does: ``Service``."""

    ending: bool

    @property
    def answered(self) -> int:
        """Requests that got a response."""
        ...

    def start(self) -> None:
        """Begin, within a running event loop."""

    async def finish(self) -> None:
        """Wait for what was taken."""

    async def stop(self) -> None:
        """End."""


class Server(uvicorn.Server):
    """A server that finishes what it has taken before it ends.

    Attributes:
        work: What begins and ends with it.
    """

    def __init__(self, config: uvicorn.Config, work: Work) -> None:
        """Keep what is served.

        Args:
            config: uvicorn's.
            work: What begins and ends with the server.
        """
        super().__init__(config)
        self.work = work

    async def startup(self, sockets: Any = None) -> None:
        """Begin the work, then take connections."""
        self.work.start()
        await super().startup(sockets)

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish the work while connections are still taken, then close them."""
        with contextlib.suppress(OSError):  # nobody may read it any more, such as in a pipe
            say("Ending: what was taken is answered first; another Ctrl-C ends it at once.")
        self.work.ending = True
        finishing = asyncio.ensure_future(self.work.finish())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while not finishing.done() and not self.force_exit:
                    await asyncio.wait([finishing], timeout=0.1)
        finishing.cancel()
        await super().shutdown(sockets)
        await self.work.stop()

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        self.should_exit = self.should_exit or self.work.ending
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C over; uvicorn's own raises them again after an orderly end."""
        if threading.current_thread() is not threading.main_thread():  # Python allows it there only
            yield
            return
        kept = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order; at a second Ctrl-C at once."""
        if self.work.ending and sig == signal.SIGINT:
            self.force_exit = True
        # on_tick() sees it: older releases of uvicorn leave out shutdown() where should_exit is set
        # before the server has started.
        self.work.ending = True
