"""The progress display while a fleet starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from actors.local.progress import Progress as Step
from bessai.cli.launch import Run


@dataclass(frozen=True, slots=True)
class Started:
    """A fleet that is ready: after how long, and how many of its sites have had a cycle."""

    took_s: float
    n_cycled: int
    n_sites: int

    @property
    def all_run(self) -> bool:
        """Whether each site has had its first control cycle."""
        return self.n_cycled >= self.n_sites

    @property
    def sentence(self) -> str:
        """For people."""
        count = f"All {self.n_sites}" if self.all_run else f"{self.n_cycled} of {self.n_sites}"
        return f"{count} sites run after {self.took_s:.0f} s."


def follow_start(run: Run, console: Console) -> Started:
    """Show each step until the fleet is ready.

    Raises:
        BessaiError: the start failed.
    """
    began = time.monotonic()
    bars = console.is_terminal and not console.is_dumb_terminal
    last = _with_bars(run, console) if bars else _as_lines(run, console, began)
    return Started(time.monotonic() - began, last.done, last.of)


def _with_bars(run: Run, console: Console) -> Step:
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        for step in run.progress():
            if step.step == "ready":
                _finish_all(bars)
                return step
            if step.step not in tasks:
                _finish_all(bars)
                tasks[step.step] = bars.add_task(step.text, total=None, count="")
            count = f"{step.done}/{step.of}" if step.of else ""
            total, done = (step.of or None), step.done
            bars.update(tasks[step.step], total=total, completed=done, count=count)
    raise AssertionError("progress ends with ready or raises")


def _finish_all(bars: Progress) -> None:
    for task in bars.tasks:
        bars.update(task.id, total=1, completed=1)


def _as_lines(run: Run, console: Console, began: float) -> Step:
    for step in run.progress():
        if step.step == "ready":
            return step
        console.print(f"[{time.monotonic() - began:5.1f} s] {_text(step)}", markup=False)
    raise AssertionError("progress ends with ready or raises")


def _text(step: Step) -> str:
    return f"{step.text} {step.done}/{step.of}" if step.of else step.text
