"""PictureCheck: which pictures cannot be read, and what is done with those that are unusual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tlkit.errors import ConfigError, DataError, PictureError, StoreFailedError
from tlkit.images import Source, open_picture, read_picture, without_warnings
from tlkit.limits import LIMITS, limit
from tlkit.records import PictureNote
from tlkit.text import printable
from tlkit.threads import map_in_threads

Broken = Literal["error", "skip"]

SKIP_HINT = "To leave out what cannot be read, set [dataset] broken = 'skip'."
MAX_NAMED = 10
EXIF_ORIENTATION = 0x0112

# Kinds, and how a note sums them up.
BROKEN = "broken"
SUMMARIES = {
    "greyscale": "{} greyscale made RGB",
    "palette": "{} with a palette made RGB",
    "CMYK": "{} CMYK made RGB",
    "other colours": "{} in other colour spaces made RGB",
    "16-bit": "{} of 16 bits or more brought to 8",
    "transparent": "{} with transparency laid on white",
    "animated": "{} animated or of several pages read as their first frame",
    "rotated": "{} turned as their EXIF orientation says",
}


@dataclass(frozen=True)
class PictureCheck:
    """What a look at pictures found.

    Attributes:
        readable: The indices of the pictures to use, in order.
        notes: One for each picture that is changed when it is read, or left out.
    """

    readable: tuple[int, ...]
    notes: tuple[PictureNote, ...]


def check_pictures(
    sources: Sequence[Source],
    names: Sequence[str],
    broken: Broken = "error",
) -> PictureCheck:
    """Read the header of every picture; with ``broken = "skip"``, decode every picture.

    Args:
        sources: For each picture the path of its file, or the file's content; a lazy sequence is
            asked from several threads at once.
        names: What errors and notes call them.
        broken: ``"error"`` to refuse pictures whose header cannot be read; ``"skip"`` to leave out
            whatever cannot be decoded.

    Returns:
        Which pictures to use, and what there is to say about them.

    Raises:
        ConfigError: If ``broken`` is neither, or an environment variable sets an impossible limit.
        DataError: With ``"error"``, if a picture is missing, empty, no picture or too large; all of
            them are named, up to ``MAX_NAMED``.
    """
    if broken not in ("error", "skip"):
        raise ConfigError(f"[dataset] broken = {broken!r} is not allowed: 'error' or 'skip'.")
    # Told once, and not as the fault of a picture.
    for variable in LIMITS:
        limit(variable)

    def look(index: int) -> PictureNote | None:
        return inspect_picture(sources[index], names[index], decode=broken == "skip")

    with without_warnings():
        found = map_in_threads(look, len(names))
    failed = [note for note in found if note is not None and BROKEN in note.kinds]
    if failed and broken == "error":
        lines = [f"  {printable(note.name)}: {printable(note.done[0])}" for note in failed]
        more = len(lines) - MAX_NAMED
        lines[MAX_NAMED:] = [f"  and {more:,} more"] if more > 0 else []
        raise DataError(
            f"{len(failed):,} of {len(names):,} pictures cannot be read:\n"
            + "\n".join(lines)
            + f"\n{SKIP_HINT}"
        )
    return PictureCheck(
        readable=tuple(
            index for index, note in enumerate(found) if note is None or BROKEN not in note.kinds
        ),
        notes=tuple(note for note in found if note is not None),
    )


def inspect_picture(source: Source, name: str, *, decode: bool = False) -> PictureNote | None:
    """Return what is unusual about a picture, or None.

    Args:
        source: The path of its file, or the file's content.
        name: What the note calls it.
        decode: Whether to decode its pixels, which alone finds a file that is cut short.
    """
    try:
        with open_picture(source, name) as picture:
            unusual = _describe(picture)
        if decode:
            read_picture(source, name)
    except StoreFailedError:
        raise  # says nothing of the picture
    except Exception as err:  # Pillow's parsers raise many kinds of error on broken files
        reason = err.reason if isinstance(err, PictureError) else str(err)
        return PictureNote(name, (BROKEN,), (reason or type(err).__name__,))
    if not unusual:
        return None
    return PictureNote(name, tuple(unusual), tuple(unusual.values()))


def summarize_pictures(notes: Sequence[PictureNote]) -> list[str]:
    """Return one line about the pictures left out, and one about those that are changed."""
    counts = Counter(kind for note in notes for kind in note.kinds)
    lines = []
    if counts[BROKEN]:
        left_out = [note for note in notes if BROKEN in note.kinds]
        first = printable(left_out[0].name, 60)
        example = first if len(left_out) == 1 else f"{first} and others"
        lines.append(
            f"Broken pictures left out: {counts[BROKEN]:,} ({example}); the reporter files lists "
            f"them in pictures.csv."
        )
    parts = [text.format(f"{counts[k]:,}") for k, text in SUMMARIES.items() if counts[k]]
    if parts:
        lines.append(
            f"Pictures changed when read: {', '.join(parts)}; the reporter files lists them in "
            f"pictures.csv."
        )
    return lines


def _describe(picture: Any) -> dict[str, str]:
    """Return kinds and what is done, from the header alone."""
    mode = picture.mode
    found: dict[str, str] = {}
    raw = " ".join(str(tile[3]) for tile in getattr(picture, "tile", ()))
    if mode.startswith("I;16") or mode in ("I", "F") or ";16" in raw:
        found["16-bit"] = "brought to 8 bits"
    if mode == "1":
        found["greyscale"] = "black and white made RGB"
    elif mode in ("L", "LA", "La", "I", "F") or mode.startswith("I;16"):
        found["greyscale"] = "greyscale made RGB"
    elif mode in ("P", "PA"):
        found["palette"] = "palette made RGB"
    elif mode == "CMYK":
        found["CMYK"] = "CMYK made RGB"
    elif mode not in ("RGB", "RGBA", "RGBX", "RGBa"):
        found["other colours"] = f"{mode} made RGB"
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        found["transparent"] = "laid on white"
    try:
        frames = int(getattr(picture, "n_frames", 1))
    except Exception:  # what follows the first frame is damaged, and is not read
        frames = 1
    if frames > 1:
        found["animated"] = f"first of {frames:,} frames taken"
    orientation = _orientation(picture)
    if orientation in range(2, 9):
        found["rotated"] = f"turned as EXIF orientation {orientation} says"
    return found


def _orientation(picture: Any) -> Any:
    from PIL import Image

    # PNG's own getexif() decodes the whole picture to find what may stand behind its pixels.
    return Image.Image.getexif(picture).get(EXIF_ORIENTATION, 1)
