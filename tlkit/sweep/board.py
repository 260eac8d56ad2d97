"""Board: how a sweep gets on, live in a terminal and line by line in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tlkit.sweep.records import Settings, Trial, best_of
from tlkit.text import printable
from tlkit.wording import clock, plural

_BEST, _SECONDS_BETWEEN = 5, 0.1


class Board:
    """Told of each trial; this one keeps what is known and shows nothing."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings = name, settings
        self.trials: dict[int, Trial] = {}
        self.at_work: dict[int, Mapping[str, Any]] = {}
        self.doing = ""
        self.began = time.monotonic()
        self._here = 0

    def known(self, trials: tuple[Trial, ...]) -> None:
        """Note trials that were over before, or that others ended."""
        self.trials |= {item.number: item for item in trials}

    def begin(self, number: int, values: Mapping[str, Any]) -> None:
        """Note that a trial begins."""
        self.at_work[number] = values
        self.status("starting")

    def status(self, text: str) -> None:
        """Note what is going on; many times a second."""
        self.doing = text

    def end(self, trial: Trial) -> None:
        """Note what came of a trial."""
        self.at_work.pop(trial.number, None)
        self.trials[trial.number] = trial
        self._here += 1

    @property
    def best(self) -> Trial | None:
        """The best trial so far."""
        return best_of(tuple(self.trials.values()), self.settings)

    @property
    def seconds_per_trial(self) -> float | None:
        """Wall-clock seconds for each trial since this process began; None before the first."""
        return (time.monotonic() - self.began) / self._here if self._here else None


class PlainBoard(Board):
    """One line for each trial."""

    def __init__(self, name: str, settings: Settings, console: Console) -> None:
        super().__init__(name, settings)
        self._console = console

    def known(self, trials: tuple[Trial, ...]) -> None:
        """Say how many there are: nothing else shows that a sweep goes on, or has nothing to do."""
        super().known(trials)
        if trials:
            more = max(self.settings.trials - len(trials), 0)
            line = f"{plural(len(trials), 'trial')} before; {more or 'no'} more to do."
            self._console.print(Text(line), soft_wrap=True)

    def end(self, trial: Trial) -> None:
        """Print what came of it."""
        super().end(trial)
        best = self.best
        line = f"[{len(self.trials)}/{self.settings.trials}] trial {trial.number}: {outcome(trial)}"
        if best is not None and best.number != trial.number:
            line += f"; best {figure(best.value)} (trial {best.number})"
        line += f"  {values_text(trial.values)}"
        self._console.print(Text(printable(line)), soft_wrap=True)


class LiveBoard(Board):
    """The trials at work, the best ones and the time that is left, in the terminal's width."""

    def __init__(self, name: str, settings: Settings, console: Console) -> None:
        super().__init__(name, settings)
        self._console = console
        self._shown = 0.0
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def status(self, text: str) -> None:
        """Show it, at most ten times a second."""
        super().status(text)
        if time.monotonic() - self._shown > _SECONDS_BETWEEN:
            self.show()

    def end(self, trial: Trial) -> None:
        """Show it."""
        super().end(trial)
        self.show()

    def show(self) -> None:
        """Draw the board."""
        self._shown = time.monotonic()
        self.live.update(self.drawing(), refresh=True)

    def drawing(self) -> Group:
        """Return the board for the console's width."""
        width = self._console.width
        done, total = len(self.trials), self.settings.trials
        counts = [f"{done:,} of {total:,} trials"]
        for state in ("pruned", "failed"):
            count = sum(item.state == state for item in self.trials.values())
            counts += [f"{count:,} {state}"] if count else []
        each = self.seconds_per_trial
        if each is not None:
            counts.append(f"{each:.1f} s each")
            counts.append(f"{clock(each * max(total - done, 0))} left")
        head = Text(printable(f"Sweep {self.name}: {', '.join(counts)}"), style="bold")
        bar = ProgressBar(total=total, completed=min(done, total), width=min(width, 60))
        parts: list[Any] = [head, bar]
        for number, values in sorted(self.at_work.items()):
            line = Text(
                f"Trial {number}: {printable(self.doing)}  ", overflow="ellipsis", no_wrap=True
            )
            line.append(printable(values_text(values)), style="dim")
            parts.append(line)
        if self.best is not None:
            parts.append(trials_table(tuple(self.trials.values()), self.settings, width, _BEST))
        return Group(*parts)


@contextmanager
def open_board(name: str, settings: Settings) -> Iterator[Board]:
    """Yield the board that fits standard error: live in a terminal, lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield PlainBoard(name, settings, console)
        return
    board = LiveBoard(name, settings, console)
    with board.live:
        yield board


def trials_table(
    trials: tuple[Trial, ...], settings: Settings, width: int, count: int, title: str = "Best"
) -> Table:
    """Return the best trials as a table that fits a width: what does not, is folded."""
    sign = -1 if settings.larger_is_better else 1
    finished = [item for item in trials if item.state == "finished" and item.value is not None]
    finished.sort(key=lambda item: (sign * (item.value or 0.0), item.number))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, justify="right")
    table.add_column(settings.metric, justify="right", no_wrap=True)
    table.add_column("Epochs", justify="right")
    table.add_column("Seconds", justify="right")
    table.add_column("Values", overflow="fold")
    for item in finished[:count]:
        table.add_row(
            str(item.number),
            figure(item.value),
            str(item.epochs),
            f"{item.seconds.get('total', 0.0):.1f}",
            Text(printable(values_text(item.values))),
        )
    if width < 60:
        for column in ("Seconds", "Epochs"):
            table.columns = [item for item in table.columns if item.header != column]
    return table


def figure(value: float | None) -> str:
    """Return a metric as it is shown."""
    return "-" if value is None else f"{value:.4f}"


def outcome(trial: Trial) -> str:
    """Return what came of a trial, in words."""
    if trial.state == "failed":
        return f"failed: {trial.error}"
    if trial.state == "pruned":
        return f"pruned after epoch {trial.epochs} at {figure(trial.value)}"
    return f"{figure(trial.value)} in {trial.seconds.get('total', 0.0):.1f} s"


def values_text(values: Mapping[str, Any]) -> str:
    """Return what a trial sets on one line, the tables' names left out where that is clear."""
    short = {key: key.partition(".")[2] for key in values}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    return "  ".join(
        f"{key if short[key] in twice or short[key] == 'name' else short[key]}={value_text(value)}"
        for key, value in values.items()
    )


def value_text(value: Any) -> str:
    """Return one value as it is shown: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
