"""What a bench found: a summary, a Markdown table and a picture."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.atomic import atomic_path, atomic_write_text
from tlkit.bench.cases import CASES, START_UP
from tlkit.bench.results import IMPORTS, PLAIN
from tlkit.drawing import LARGE, MEDIUM, SMALL, new_figure
from tlkit.text import printable
from tlkit.wording import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKDOWN, PICTURE = "bench.md", "bench.png"
# Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
_BAR, _GOAL = "#0072B2", "#D55E00"

Document = Mapping[str, Any]


def summarise(document: Document) -> dict[str, Any]:
    """Return the medians and ratios of the cases that the bench was asked for.

    Returns:
        ``variants``: one row for each variant with measurements of both sides; ``start_up``: one
        row for each command; ``tensorflow_imported``: what the look at the imports found.
    """
    measurements = [item for item in document["measurements"] if item["case"] in document["cases"]]
    rows = []
    for case in CASES.values():
        mine = [item for item in measurements if item["case"] == case.name]
        plain = [item for item in mine if item["variant"] == PLAIN]
        for variant in case.variants:
            found = [item for item in mine if item["variant"] == variant.name]
            if plain and found:
                # The goals are for the whole data.
                part = (document["data"] or {}).get("images") is not None
                goal = None if part else variant.goal
                rows.append(_row(case.name, variant.name, goal, plain, found))
    start_up = [item for item in measurements if item["case"] == START_UP.name]
    commands = []
    for arguments in START_UP.commands:
        name = f"tlkit {' '.join(arguments)}"
        timed = [item["wall_seconds"] for item in start_up if item["variant"] == name]
        if timed:
            seconds = _spread(timed)
            reached = seconds["median"] <= START_UP.limit
            commands.append(
                {
                    "command": name,
                    "seconds": seconds,
                    "limit": START_UP.limit,
                    "reached": reached,
                    "rounds": len(timed),
                }
            )
    looked = [item for item in start_up if item["variant"] == IMPORTS]
    return {
        "variants": rows,
        "start_up": commands,
        "tensorflow_imported": looked[-1]["tensorflow_imported"] if looked else None,
    }


def _row(
    case: str,
    variant: str,
    goal: float | None,
    plain: Sequence[Document],
    found: Sequence[Document],
) -> dict[str, Any]:
    sides = {
        side: {
            "seconds": _spread([item["job_seconds"] for item in items]),
            "wall_seconds": _spread([item["wall_seconds"] for item in items]),
            "process_start_seconds": _spread([item["process_start_seconds"] for item in items]),
            "peak_memory_bytes": max(item["peak_memory_bytes"] for item in items),
            "accuracy": [
                statistics.median(values)
                for values in zip(*(item["accuracy"] for item in items), strict=True)
            ],
            "rounds": len(items),
        }
        for side, items in (("plain", plain), ("tlkit", found))
    }
    ratio = _ratio(sides, "seconds")
    of_plain = {item["round"]: item["job_seconds"] for item in plain}
    by_round = [
        of_plain[item["round"]] / item["job_seconds"] for item in found if item["round"] in of_plain
    ]
    return {
        "case": case,
        "variant": variant,
        **sides,
        "ratio": ratio,
        "ratio_by_round": _spread(by_round) if by_round else None,
        "wall_ratio": _ratio(sides, "wall_seconds"),
        "goal": goal,
        "reached": None if goal is None else ratio >= goal,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _ratio(sides: Mapping[str, Any], key: str) -> float:
    plain, tlkit = (float(sides[side][key]["median"]) for side in ("plain", "tlkit"))
    return plain / tlkit


def write_report(document: Document, folder: Path) -> None:
    """Write ``bench.md`` and, if there is a ratio to show, ``bench.png``."""
    summary = summarise(document)
    atomic_write_text(folder / MARKDOWN, markdown(document, summary))
    if not summary["variants"]:
        (folder / PICTURE).unlink(missing_ok=True)
        return
    figure = draw(summary["variants"])
    with atomic_path(folder / PICTURE) as temporary:
        figure.savefig(temporary, dpi=100, format="png", facecolor="white")


def markdown(document: Document, summary: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ["# tlkit against plain Keras", ""]
    images = (document["data"] or {}).get("images")
    if images is not None:
        lines += [f"**On {images:,} training images only**, not on the whole data.", ""]
    if summary["variants"]:
        lines += _variants(summary["variants"])
    for item in document["left_out"]:
        lines += [f"Left out: {item['case']}, {item['variant']}: {item['reason']}.", ""]
    if summary["start_up"]:
        lines += _start_up(summary)
    return "\n".join([*lines, *_machine(document)]) + "\n"


def _variants(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "Seconds are those of the job, without starting Python and importing TensorFlow: median "
        "(least to most). Ratio: median of plain Keras / median of tlkit. Process start: the rest "
        "of the wall time; the last ratio counts it. Memory: the most resident memory of one "
        "process.",
        "",
    ]
    header = (
        "Case", "Variant", "Plain Keras (s)", "tlkit (s)", "Ratio", "Goal", "Reached",
        "Accuracy, plain / tlkit", "Peak memory (MB), plain / tlkit",
        "Process start (s), plain / tlkit", "Ratio with process start", "Rounds",
    )  # fmt: skip
    cells = []
    for row in rows:
        plain, tlkit = row["plain"], row["tlkit"]
        rounds = sorted({plain["rounds"], tlkit["rounds"]})
        cells.append(
            (
                row["case"],
                row["variant"],
                _seconds(plain["seconds"]),
                _seconds(tlkit["seconds"]),
                f"{row['ratio']:.1f}",
                "-" if row["goal"] is None else f"{row['goal']:g}",
                {None: "-", True: "yes", False: "**no**"}[row["reached"]],
                f"{_accuracy(plain)} / {_accuracy(tlkit)}",
                " / ".join(f"{side['peak_memory_bytes'] / 1e6:,.0f}" for side in (plain, tlkit)),
                " / ".join(
                    f"{side['process_start_seconds']['median']:.1f}" for side in (plain, tlkit)
                ),
                f"{row['wall_ratio']:.1f}",
                " to ".join(map(str, rounds)),
            )
        )
    lines += [*_table(header, cells), ""]
    names = dict.fromkeys(row["case"] for row in rows)
    return [*lines, *(f"- `{name}`: {CASES[name].title}." for name in names), ""]


def _start_up(summary: Mapping[str, Any]) -> list[str]:
    cells = [
        (
            f"`{row['command']}`",
            _seconds(row["seconds"], digits=2),
            f"{row['limit']:g}",
            "yes" if row["reached"] else "**no**",
            str(row["rounds"]),
        )
        for row in summary["start_up"]
    ]
    header = ("Command", "Wall time (s)", "Limit (s)", "Kept", "Measurements")
    lines = ["## Start-up", "", *_table(header, cells), ""]
    imported = summary["tensorflow_imported"]
    if imported is not None:
        command = " ".join(("tlkit", *START_UP.no_tensorflow))
        lines += [f"`{command}` imports TensorFlow: {'**yes**' if imported else 'no'}.", ""]
    return lines


def _machine(document: Document) -> list[str]:
    facts = dict(document["environment"])
    if document["memory_bytes"] is not None:
        facts["memory"] = f"{document['memory_bytes'] / 2**30:.1f} GiB"
    lines = [f"- {printable(key)}: {printable(str(value))}" for key, value in facts.items()]
    command = printable(shlex.join(document["command"]))
    return ["## Machine and command", "", *lines, "", "```", command, "```"]


def _seconds(spread: Mapping[str, float], digits: int = 1) -> str:
    median, least, most = (f"{spread[key]:.{digits}f}" for key in ("median", "min", "max"))
    return median if least == most else f"{median} ({least} to {most})"


def _accuracy(side: Mapping[str, Any]) -> str:
    least, most = (percent(pick(side["accuracy"])) for pick in (min, max))
    return least if least == most else f"{least} to {most}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the ratios as horizontal bars, each with its goal as a mark."""
    figure = new_figure(10, 2.0 + 0.65 * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    ratios = [row["ratio"] for row in rows]
    axes.barh(places, ratios, height=0.6, color=_BAR, label="measured")
    goals = [(place, row["goal"]) for place, row in enumerate(rows) if row["goal"] is not None]
    if goals:
        axes.vlines(
            [goal for _, goal in goals],
            [place - 0.4 for place, _ in goals],
            [place + 0.4 for place, _ in goals],
            color=_GOAL,
            lw=4,
            label="goal",
        )
    most = max([*ratios, *(goal for _, goal in goals)])
    for place, ratio in enumerate(ratios):
        # A number that would lie on the goal's mark goes beyond it.
        goal = rows[place]["goal"]
        blocked = goal is not None and ratio <= goal < ratio + 0.12 * most
        axes.text(
            (goal if blocked else ratio) + 0.012 * most,
            place,
            f"{ratio:.1f} x",
            va="center",
            fontsize=MEDIUM,
        )
    axes.set_xlim(0, 1.15 * most)
    axes.set_yticks(places, [f"{row['case']}\n{row['variant']}" for row in rows], fontsize=SMALL)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel("Times as fast as plain Keras (job, without imports)", fontsize=MEDIUM)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title("tlkit against plain Keras", fontsize=LARGE)
    figure.legend(loc="outside lower right", ncols=2, fontsize=SMALL, frameon=False)
    return figure
