"""The captioning models, a row each. Another model of one of these kinds goes in as another row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CaptionerName = Literal["joycaption", "qwen2.5-vl", "qwen3-vl"]

# What a LoRA learns from: everything in the picture that is said can be changed later by a prompt. So what
# varies must be named, in plain words, without guesses, and without talk about the picture as a file.
PICTURE = (
    "Describe this image in one paragraph of at most 100 words, for training an image generator. Name the "
    "subject, its pose, clothing and expression, the setting, the light, the colours, the camera angle and the "
    "style. Quote text that can be read. State only what can be seen. Begin with the subject itself, not with "
    '"This image" or "The image".'
)
VIDEO = (
    "Describe this video in one paragraph of at most 120 words, for training a video generator. Name the "
    "subject and its looks, what it does from the beginning to the end, the setting, the light, the style, and "
    "how the camera moves. State only what can be seen. Begin with the subject itself, not with "
    '"This video" or "The video".'
)


@dataclass(frozen=True)
class CaptioningModel:
    """One model. `family` is the model_type in its config.json and names its class in the worker.

    `size` is its download in bytes, `vram_gib` what it takes on a GPU with pictures of `side` x `side` pixels
    in batches of `batch`. `frames` of a video are looked at, each of at most `frame_side` squared pixels.
    `generate` overrides the model's own generation settings. `processor` are the files of the repo that say
    how to prepare inputs, for weights that come as a single file.
    """

    name: CaptionerName
    title: str
    repo: str
    family: str
    size: int
    vram_gib: float
    licence: str
    prompts: Mapping[str, str]
    system: str | None = None
    generate: Mapping[str, float | bool | int] = field(default_factory=dict)
    single_file: bool = False
    revision: str = "main"
    include: tuple[str, ...] = ("*.json", "*.jinja", "*.txt", "*.safetensors")
    batch: int = 4
    side: int = 1024
    frames: int = 32
    frame_side: int = 448
    max_new_tokens: int = 300

    @property
    def video(self) -> bool:
        """Tell whether it takes videos."""
        return "video" in self.prompts


# Sizes: the parameters of each repo in bfloat16. GPU memory: that and 3 GiB for activations and the cache of
# keys and values at these limits; JoyCaption's own page says 17 GB for one picture at a time.
MODELS: tuple[CaptioningModel, ...] = (
    CaptioningModel(
        name="joycaption",
        title="JoyCaption Beta One",
        repo="fancyfeast/llama-joycaption-beta-one-hf-llava",
        family="llava",
        size=17_000_000_000,
        vram_gib=19,
        licence="none named on its page; made from Llama 3.1 8B (Llama 3.1 Community License) and SigLIP 2 "
        "(Apache-2.0)",
        # It follows requests of the form "Write a LENGTH descriptive caption for this image in a TONE tone".
        prompts={"image": "Write a medium-length descriptive caption for this image in a formal tone."},
        system="You are a helpful image captioner.",
        # Its page's settings. top_k 0 switches that filter off.
        generate={"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 0},
    ),
    CaptioningModel(
        name="qwen2.5-vl",
        title="Qwen2.5-VL 7B",
        repo="Qwen/Qwen2.5-VL-7B-Instruct",
        family="qwen2_5_vl",
        size=16_600_000_000,
        vram_gib=19,
        licence="Apache-2.0",
        prompts={"image": PICTURE, "video": VIDEO},
        single_file=True,
    ),
    CaptioningModel(
        name="qwen3-vl",
        title="Qwen3-VL 8B",
        repo="Qwen/Qwen3-VL-8B-Instruct",
        family="qwen3_vl",
        size=17_500_000_000,
        vram_gib=20,
        licence="Apache-2.0",
        prompts={"image": PICTURE, "video": VIDEO},
    ),
)
BY_NAME: Mapping[str, CaptioningModel] = {model.name: model for model in MODELS}
