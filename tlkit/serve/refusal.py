"""Refusal: why a request gets no answer, as a status and a message."""

from __future__ import annotations

ENDING = "The service is ending: it answers what it has taken, and takes nothing new."


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: The HTTP status, 400 to 599.
        message: What was received, what is allowed, what to do.
        headers: Headers of the response.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Keep all three."""
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def too_busy(message: str) -> Refusal:
    """Return the refusal of what could be answered a little later."""
    return Refusal(503, f"{message} Try again later.", {"Retry-After": "1"})
