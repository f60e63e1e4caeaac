"""One thing to render: what a line of a prompt file says."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Prompt:
    """One picture or clip to render. `width` and `height` are pixels; `seed` None takes a new one each time.

    `guidance_scale` is that of classifier-free guidance (the trainer's --l), off at 1 or less. The
    defaults are musubi-tuner's for Z-Image (v0.3.4, training/trainer_base.py, zimage_train_network.py).
    `given` names the fields that the line sets itself; `image`, `end_image` and `controls` are files.
    """

    text: str
    width: int = 256
    height: int = 256
    seed: int | None = None
    steps: int = 20
    guidance_scale: float = 4.0
    flow_shift: float = 3.0
    negative: str = ""
    frames: int = 1
    embedded_guidance: float | None = None
    image: str | None = None
    end_image: str | None = None
    control_video: str | None = None
    controls: tuple[str, ...] = ()
    one_frame: str | None = None
    given: frozenset[str] = field(default=frozenset(), compare=False)
