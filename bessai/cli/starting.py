"""The progress display while a fleet starts."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from actors.local.progress import Progress as Step
from bessai.cli.launch import Run


def follow_start(run: Run, console: Console) -> float:
    """Show each step until the fleet is ready; returns how long that took in seconds.

    Raises:
        BessaiError: the start failed.
    """
    began = time.monotonic()
    if console.is_terminal:
        _with_bars(run, console)
    else:
        _as_lines(run, console, began)
    return time.monotonic() - began


def _with_bars(run: Run, console: Console) -> None:
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
                break
            if step.step not in tasks:
                _finish_all(bars)
                tasks[step.step] = bars.add_task(step.text, total=None, count="")
            count = f"{step.done}/{step.of}" if step.of else ""
            total, done = (step.of or None), step.done
            bars.update(tasks[step.step], total=total, completed=done, count=count)
        _finish_all(bars)


def _finish_all(bars: Progress) -> None:
    for task in bars.tasks:
        bars.update(task.id, total=1, completed=1)


def _as_lines(run: Run, console: Console, began: float) -> None:
    for step in run.progress():
        console.print(f"[{time.monotonic() - began:5.1f} s] {_text(step)}", markup=False)


def _text(step: Step) -> str:
    return f"{step.text} {step.done}/{step.of}" if step.of else step.text
