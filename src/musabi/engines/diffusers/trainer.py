"""The training loop."""

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from musabi.engines.diffusers import batches, flow, lora, metadata, optimizers, rendering, state
from musabi.engines.diffusers.batches import Batches, Example
from musabi.engines.diffusers.logs import Logs
from musabi.engines.diffusers.process import StopFlag, emit
from musabi.errors import TrainerError
from musabi.job.events import Event
from musabi.whole import replacing

PHASE: Final = "train"
FIXED_DRAWS = 8
RECENT = 20
"""How many of the last steps the pace is taken from."""


@dataclass(frozen=True)
class Length:
    """How long a whole run is, and how often it saves and samples, in epochs (None: never)."""

    steps: int
    epochs: int
    save_every: int | None
    state_every: int | None
    sample_every: int | None


@dataclass(frozen=True)
class Output:
    """Where files go, under which name, in which precision, with which metadata."""

    folder: Path
    name: str
    precision: torch.dtype
    metadata: Mapping[str, str]

    def path(self, suffix: str) -> Path:
        """Return the place of this run's file or folder with that end of its name."""
        return self.folder / f"{self.name}{suffix}"


@dataclass(frozen=True)
class Recipe:
    """How a step is done."""

    shift: float
    sigmoid_scale: float
    max_grad_norm: float


@dataclass(frozen=True)
class Sampler:
    """What renders pictures while training: the pipeline and the encoded prompts."""

    pipeline: Any
    prompts: list[rendering.Embedded]


class FixedLoss:
    """The loss on a set of noise and times that never changes: what a step learnt shows in it undisturbed."""

    def __init__(self, examples: list[Example], seed: int, shift: float) -> None:
        generator = torch.Generator().manual_seed(seed + 1)
        places = (torch.arange(len(examples)) + 0.5) / len(examples)
        times = flow.shifted(torch.special.ndtri(places), shift)
        self._draws = []
        for example, when in zip(examples, times, strict=True):
            batch = batches.load([example])
            noise, _ = flow.draw(batch.latents.shape, generator)
            self._draws.append((batch, noise, when.view(1)))

    def measure(self, loss: Callable[..., torch.Tensor]) -> float:
        """Return the mean loss; `loss` takes a batch, noise and times on the CPU."""
        with torch.no_grad():
            found = [float(loss(batch, noise, when)) for batch, noise, when in self._draws]
        return sum(found) / len(found)


class Trainer:
    """Carries one run out, from wherever its progress stands."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - diffusers' transformer
        training: state.Training,
        data: Batches,
        length: Length,
        recipe: Recipe,
        output: Output,
        logs: Logs,
        sampler: Sampler | None,
        stop: StopFlag,
        seed: int,
    ) -> None:
        self._model = model
        self._training = training
        self._data = data
        self._length = length
        self._recipe = recipe
        self._output = output
        self._logs = logs
        self._sampler = sampler
        self._stop = stop
        self._device = next(model.parameters()).device
        self._fixed = FixedLoss(data.some(FIXED_DRAWS), seed, recipe.shift)
        self._paces: list[float] = []
        self.progress = state.Progress()

    def run(self) -> int:
        """Train to the end, or until the stop flag is up. Return the exit code."""
        if self.progress.step == 0:
            self._measure_fixed()
        while self.progress.step < self._length.steps:
            if not self._epoch():
                self._logs.close()
                return self._stop.exit_code
        self._finish()
        self._logs.close()
        return 0

    def _epoch(self) -> bool:
        """Train what is left of the current epoch; return False where it was stopped."""
        per_epoch = self._data.per_epoch
        number = self.progress.step // per_epoch + 1
        for place, examples in enumerate(self._data.epoch(number)):
            if place < self.progress.step % per_epoch:
                continue
            if self.progress.step >= self._length.steps:
                break
            if self._stop.signal is not None:
                self._save_where_stopped()
                return False
            self._step(number, place, examples)
            if place + 1 == per_epoch:
                break
        if self.progress.step % per_epoch == 0:
            self.progress.epoch = number
        self._logs.add({"loss/epoch": self._average()}, number)
        self._end_of_epoch(number)
        return True

    def _step(self, epoch: int, place: int, examples: list[Example]) -> None:
        started = time.monotonic()
        batch = batches.load(examples)
        noise, times = flow.draw(
            batch.latents.shape, self._training.noise, self._recipe.shift, self._recipe.sigmoid_scale
        )
        loss = self._loss(batch, noise, times)
        value = float(loss.detach())
        if value != value or value == float("inf"):
            raise TrainerError(
                f"The loss became {value} at step {self.progress.step + 1}. Lower the learning rate, or "
                "PRODIGY_D_COEF with Prodigy, and go on from the last state."
            )
        self._training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._recipe.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._training.network.parameters(), self._recipe.max_grad_norm)
        self._training.optimizer.step()
        self._training.schedule.step()
        self.progress.step += 1
        self._record(place, value)
        self._tell(epoch, value, time.monotonic() - started)

    def _loss(self, batch: batches.Batch, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        device = self._device
        with self._autocast():
            return flow.loss(
                self._model,
                batch.latents.to(device),
                noise.to(device),
                times.to(device),
                [embed.to(device) for embed in batch.embeds],
            )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        """On a GPU the LoRA's fp32 weights meet the model's bf16 in bf16."""
        if self._device.type == "cuda":
            on_gpu: contextlib.AbstractContextManager[Any] = torch.autocast("cuda", dtype=torch.bfloat16)
            return on_gpu
        return contextlib.nullcontext()

    def _record(self, place: int, value: float) -> None:
        """Keep the newest loss at each place of an epoch, as musubi-tuner's moving average does."""
        losses = self.progress.losses
        if place < len(losses):
            losses[place] = value
        else:
            losses.append(value)

    def _average(self) -> float:
        return sum(self.progress.losses) / len(self.progress.losses)

    def _tell(self, epoch: int, value: float, seconds: float) -> None:
        done, rates = self.progress.step, optimizers.rates(self._training.optimizer, self._training.schedule)
        self._logs.add({"loss/current": value, "loss/average": self._average(), **rates}, done)
        self._paces = [*self._paces, seconds][-RECENT:]
        pace = sum(self._paces) / len(self._paces)
        emit(
            Event(
                phase=PHASE,
                step=done,
                steps=self._length.steps,
                epoch=epoch,
                epochs=self._length.epochs,
                loss=round(self._average(), 6),
                lr=list(rates.values())[-1],
                s_per_step=round(pace, 4),
                eta_s=round(pace * (self._length.steps - done), 1),
            )
        )

    def _end_of_epoch(self, epoch: int) -> None:
        last = self.progress.step >= self._length.steps
        if not last and _due(self._length.save_every, epoch):
            self._measure_fixed()
            self._save_lora(f"-{epoch:06d}.safetensors", epoch)
        if not last and _due(self._length.state_every, epoch):
            self._save_state(f"-{epoch:06d}-state", epoch)
        if _due(self._length.sample_every, epoch):
            self._sample(epoch)
        self._logs.flush()

    def _finish(self) -> None:
        self._measure_fixed()
        self._save_lora(".safetensors", self._length.epochs)
        # After the LoRA: a state at the end without it could not be resumed and would have nothing to show.
        if self._length.state_every is not None:
            self._save_state("-state", self._length.epochs)

    def _save_where_stopped(self) -> None:
        step = self.progress.step
        if step == 0:
            emit(Event(phase=PHASE, message="Stopped before the first step: there is nothing to save."))
            return
        self._save_state(f"-step{step:08d}-state", None)
        emit(Event(phase=PHASE, step=step, message=f"Stopped at step {step}, and its state is saved."))

    def _measure_fixed(self) -> None:
        value = self._fixed.measure(self._loss)
        self._logs.add({"loss/fixed": value}, self.progress.step)
        emit(Event(phase=PHASE, kind="fixed-loss", step=self.progress.step, loss=round(value, 6)))

    def _save_lora(self, suffix: str, epoch: int) -> None:
        path = self._output.path(suffix)
        entries = metadata.file_metadata(self._output.metadata, self._output.name, self.progress.step, epoch)
        data = metadata.whole_file(self._training.network.tensors(self._output.precision), entries)
        with replacing(path) as part:
            part.write_bytes(data)
        self._made("checkpoint", path, epoch)

    def _save_state(self, suffix: str, epoch: int | None) -> None:
        path = self._output.path(suffix)
        state.save_state(path, self._training, self.progress)
        self._made("state", path, epoch)

    def _sample(self, epoch: int) -> None:
        if self._sampler is None:
            return
        for index, embedded in enumerate(self._sampler.prompts):
            if self._stop.signal is not None:
                return
            seed = embedded[0].seed
            seed = random.SystemRandom().getrandbits(32) if seed is None else seed
            with self._autocast():
                picture = rendering.render(self._sampler.pipeline, embedded, seed)
            stem = f"{self._output.name}_e{epoch:06d}_{index:02d}"
            path = rendering.save_picture(picture, self._output.folder / "sample", stem, seed)
            self._made("sample", path, epoch)

    def _made(self, kind: str, path: Path, epoch: int | None) -> None:
        emit(Event(phase=PHASE, kind=kind, file=str(path), epoch=epoch, step=self.progress.step))


def _due(every: int | None, epoch: int) -> bool:
    return every is not None and epoch % every == 0


def precision(name: str) -> torch.dtype:
    """Return what `--save_precision` names."""
    return lora.PRECISIONS[name]
