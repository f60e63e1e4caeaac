"""The model card (README.md) of a LoRA: what the hub shows of it, and how to use it.

Captions, prompts and names are anybody's text here. In the front matter each is a JSON string, which YAML
reads as it is; in the page each is escaped, so that none can become markup.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from musabi.watch.story import count, file_size

MOST_PROMPT = 300
# ASCII punctuation that means something in Markdown, and what makes an address or a mention of plain text.
PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#!|~$@]|:(?=//))")


@dataclass(frozen=True)
class CardFile:
    """A LoRA file of the card: its name at the destination, its size in bytes, and the checkpoint in words."""

    name: str
    size: int
    label: str
    converted: bool


@dataclass(frozen=True)
class Card:
    """What a model card tells. `samples` are (name at the destination, prompt) pairs.

    `repo` is the repo that the card lies in; None elsewhere. `licence` is the base model's.
    """

    name: str
    model: str
    headline: str
    files: tuple[CardFile, ...]
    repo: str | None = None
    base_model: str | None = None
    licence: str | None = None
    trigger: str | None = None
    images: int | None = None
    remark: str | None = None
    sheet: str | None = None
    samples: tuple[tuple[str, str | None], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


def card_text(card: Card) -> str:
    """Return the card as Markdown with YAML front matter."""
    parts = [
        _front_matter(card),
        f"# {escaped(card.name)}",
        f"A LoRA for {escaped(card.model)}. {escaped(card.headline)}",
        *([f"> **Note:** {escaped(card.remark)}"] if card.remark else []),
        *_trigger(card),
        *_samples(card),
        *_files(card),
        *_use(card),
        *_settings(card),
        *_licence(card),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return any text as one line of Markdown that shows it and does nothing else."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return PUNCTUATION.sub(r"\\\1", line)


def one_line(text: str) -> str:
    """Return the printable letters of a text, in one line."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def quoted(text: str) -> str:
    """Return a text as a YAML scalar: a JSON string is one (YAML 1.2, 1.3)."""
    return json.dumps(one_line(text), ensure_ascii=False)


def _front_matter(card: Card) -> str:
    lines = ["---"]
    if card.base_model:
        lines += [f"base_model: {quoted(card.base_model)}", "base_model_relation: adapter"]
    if card.licence:
        lines.append(f"license: {quoted(card.licence)}")
    lines += ["library_name: diffusers", "pipeline_tag: text-to-image"]
    if card.trigger:
        lines.append(f"instance_prompt: {quoted(card.trigger)}")
    tags = ("lora", "text-to-image", "diffusers", "template:sd-lora", card.model.lower(), "musabi")
    lines += ["tags:", *(f"- {quoted(tag)}" for tag in tags)]
    if card.samples:
        lines.append("widget:")
        for name, prompt in card.samples:
            text = one_line(prompt or card.trigger or card.name)[:MOST_PROMPT]
            lines += [f"- text: {quoted(text)}", "  output:", f"    url: {quoted(quote(name))}"]
    return "\n".join([*lines, "---"])


def _trigger(card: Card) -> list[str]:
    if not card.trigger:
        return []
    return ["## Trigger word", f"Put **{escaped(card.trigger)}** at the beginning of the prompt."]


def _samples(card: Card) -> list[str]:
    if not card.samples and not card.sheet:
        return []
    parts = ["## Samples"]
    if card.sheet:
        parts.append(f"![Samples during the training]({quote(card.sheet)})")
    rows = [(name, prompt) for name, prompt in card.samples if prompt]
    if rows:
        lines = ["| Sample | Prompt |", "| --- | --- |"]
        for number, (name, prompt) in enumerate(rows, start=1):
            lines.append(f"| [{number}]({quote(name)}) | {escaped((prompt or '')[:MOST_PROMPT])} |")
        parts.append("\n".join(lines))
    return parts


def _files(card: Card) -> list[str]:
    lines = ["| File | For | Checkpoint | Size |", "| --- | --- | --- | --- |"]
    for file in card.files:
        use = "ComfyUI, diffusers" if file.converted else "musubi-tuner"
        link = f"[{escaped(file.name)}]({quote(file.name)})"
        lines.append(f"| {link} | {use} | {escaped(file.label)} | {file_size(file.size)} |")
    return ["## Files", "\n".join(lines)]


def _use(card: Card) -> list[str]:
    """Return how to use the file to take: the last one that is converted, or the last one."""
    best = next((file for file in reversed(card.files) if file.converted), card.files[-1])
    folder, _, file = best.name.rpartition("/")
    parts = [
        "## Use",
        f"**ComfyUI:** put {escaped(best.name)} into `ComfyUI/models/loras` and load it with the node "
        "*LoraLoaderModelOnly*.",
    ]
    if card.base_model:
        prompt = one_line(
            next((text for _, text in card.samples if text), None) or card.trigger or "a portrait"
        )
        where = f", subfolder={folder!r}" if folder else ""
        code = [
            "import torch",
            "from diffusers import DiffusionPipeline",
            "",
            f"pipe = DiffusionPipeline.from_pretrained({card.base_model!r}, torch_dtype=torch.bfloat16).to('cuda')",
            f"pipe.load_lora_weights({card.repo or '.'!r}, weight_name={file!r}{where})",
            f"image = pipe({prompt[:MOST_PROMPT]!r}).images[0]",
        ]
        parts += ["**diffusers:**", "\n".join(["```python", *code, "```"])]
    return parts


def _settings(card: Card) -> list[str]:
    rows = list(card.settings)
    if card.images is not None and not any(name == "Images" for name, _ in rows):
        rows.append(("Dataset", count(card.images, "image")))
    rows += card.versions
    lines = ["| Setting | Value |", "| --- | --- |"]
    return [
        "## Training",
        "\n".join([*lines, *(f"| {escaped(name)} | {escaped(value)} |" for name, value in rows)]),
    ]


def _licence(card: Card) -> list[str]:
    if not card.licence:
        return []
    base = f" {escaped(card.base_model)}" if card.base_model else ""
    return [
        "## Licence",
        f"The base model{base} is under {escaped(card.licence)}; this LoRA is derived from it. The pictures it was "
        "trained on have rights of their own.",
    ]
