"""Wording: numbers as they are said in every report."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as per cent, such as ``33.8 %``."""
    return f"{share * 100:.1f} %"


def plural(count: int, noun: str) -> str:
    """Return ``1 epoch`` or ``2 epochs``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}es" if noun.endswith("s") else f"{count:,} {noun}s"


def rate(value: float | None) -> str:
    """Return images per second, or an empty text if nothing can be said yet."""
    if not value:
        return ""
    return f"{value:,.0f} images/s" if value >= 10 else f"{value:.1f} images/s"


def clock(seconds: float) -> str:
    """Return a duration as ``1:23`` or ``2:01:23``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
