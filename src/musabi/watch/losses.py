"""The loss curves of a run, with the runs it resumed before it: read, drawn and put into words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musabi.errors import MachineError
from musabi.job import events
from musabi.job.record import RunFolder, RunRecord, RunState
from musabi.watch.curves import Line, draw
from musabi.watch.lineage import Lineage
from musabi.watch.scalars import event_files, read_scalars
from musabi.watch.series import Series, continued, smooth, smoothing_weight, smoothing_window
from musabi.watch.story import plan_schedule

WIDE = (1000, 320)
NARROW = (440, 300)


@dataclass(frozen=True)
class Losses:
    """Series by TensorBoard tag; `remark` says where they come from when it isn't event files."""

    series: dict[str, Series] = field(default_factory=dict)
    steps_per_epoch: int = 0
    last_step: int = 0
    remark: str | None = None


@dataclass(frozen=True)
class Chart:
    """One chart in two sizes, for wide and narrow screens, with a line of explanation."""

    title: str
    wide: str
    narrow: str
    note: str


def read_losses(lineage: Lineage) -> Losses:
    """Read the scalars of a run: from its event files, else from the progress that its record holds."""
    series: dict[str, Series] = {}
    from_events: dict[str, Series] = {}
    problem = None
    for run, record in lineage.records:
        try:
            found = read_scalars(event_files(logging_dir(record), *span_of(run, record)))
        except (MachineError, OSError) as error:
            found, problem = {}, str(error)
        _join(series, found)
        _join(from_events, _from_events(run.events_file))
    last = max(
        (all_steps.steps[-1] for tag, all_steps in (series | from_events).items() if tag != "loss/epoch"),
        default=0,
    )
    per_epoch = plan_schedule(lineage.record)["steps_per_epoch"]
    if any(tag.startswith("loss/") for tag in series):
        return Losses(series, per_epoch, last)
    remark = (
        problem or f"No TensorBoard event files of this run were found under {logging_dir(lineage.record)}."
    )
    if from_events:
        remark += " The curve is drawn from the progress that the trainer printed."
    return Losses(from_events | series, per_epoch, last, remark)


def charts(losses: Losses) -> list[Chart]:
    """Draw what there is: the loss, the loss on fixed noise, the learning rate."""
    series, drawn = losses.series, []
    if (current := series.get("loss/current")) and len(current.points()) > 1:
        drawn.append(_loss_chart(current, series.get("loss/epoch"), losses))
    elif (average := series.get("loss/average")) and len(average.points()) > 1:
        note = "The mean over the last epoch's steps, as the trainer printed it."
        drawn.append(_chart("Loss", "loss", [Line("loss/average", average.points())], note))
    fixed = series.get("loss/fixed")
    if fixed and len(fixed.points()) > 1:
        lines = [Line("loss/fixed", fixed.points(), "marked")]
        note = "Always the same images, noise and timesteps, so its values can be compared with each other."
        drawn.append(_chart("Loss on fixed noise", "fixed", lines, note))
    rate = series.get("lr/d*lr/unet") or series.get("lr/unet")
    if rate and len(rate.points()) > 1:
        prodigy = "lr/d*lr/unet" in series
        lines = [Line("lr/d*lr/unet" if prodigy else "lr/unet", rate.points(), colour=3)]
        note = "Prodigy finds its step size by itself." if prodigy else "As the schedule set it."
        drawn.append(_chart("Step size" if prodigy else "Learning rate", "rate", lines, note))
    return drawn


def _loss_chart(current: Series, by_epoch: Series | None, losses: Losses) -> Chart:
    points = current.points()
    window = smoothing_window(len(points))
    smoothed = smooth([value for _, value in points], smoothing_weight(window))
    lines = [
        Line("each step", points, "faint"),
        Line("smoothed", [(step, value) for (step, _), value in zip(points, smoothed, strict=True)]),
    ]
    if by_epoch and losses.steps_per_epoch:
        epochs = [(epoch * losses.steps_per_epoch, value) for epoch, value in by_epoch.points()]
        lines.append(Line("mean of an epoch", epochs, "dots", 2))
    note = f"Smoothed over about {window} steps."
    if losses.steps_per_epoch:
        note += f" An epoch has {losses.steps_per_epoch:,} steps."
    return _chart("Loss", "loss", lines, note)


def _chart(title: str, ident: str, lines: Sequence[Line], note: str) -> Chart:
    said = "; ".join(
        f"{line.label} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
        for line in lines
        if line.points
    )
    wide, narrow = (
        draw(
            title, f"{said}. {note}", lines,
            ident=f"{ident}-{name}", x_label="step", width=size[0], height=size[1],
        )
        for name, size in (("wide", WIDE), ("narrow", NARROW))
    )  # fmt: skip
    return Chart(title, wide, narrow, note)


def _join(whole: dict[str, Series], part: dict[str, Series]) -> None:
    for tag, series in part.items():
        whole[tag] = continued(whole[tag], series) if tag in whole else series


def logging_dir(record: RunRecord) -> Path:
    """Return the folder that the run's event files lie under."""
    return Path(str(record.job.get("logging_dir", "")))


def span_of(run: RunFolder, record: RunRecord) -> tuple[float, float | None]:
    """Return between which Unix times the run's trainer was started."""
    started = [step.started for step in record.steps if step.name == "train" and step.started]
    since = started[0] if started else record.created
    if record.ended is not None or record.state in (RunState.PLANNED, RunState.RUNNING):
        return since, record.ended
    written = run.events_file.stat().st_mtime if run.events_file.exists() else record.created
    return since, max(written, since)


def tag_of(event: events.Event) -> str:
    """Return the tag under which the loss that an event tells belongs."""
    return "loss/fixed" if event.kind == "fixed-loss" else "loss/average"


def _from_events(path: Path) -> dict[str, Series]:
    series: dict[str, Series] = {}
    for event in events.read(path):
        if event.step is None or event.loss is None or event.phase != "train":
            continue
        if math.isfinite(event.loss):
            series.setdefault(tag_of(event), Series()).append(event.step, event.t or 0.0, event.loss)
    return series
