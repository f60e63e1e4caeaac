"""The files that `musabi init` writes: a job and a dataset for one model, with what to change said beside it."""

import json
from pathlib import Path

from musabi.recipes.recipe import Recipe

CONTROL_WORDS = {
    "one": "one control image (for a video: a video) for each, of the same name",
    "any": "control images of the same name, or NAME_0, NAME_1 ...",
    "each_index": "a control image for each entry of fp_1f_clean_indices: NAME_0, NAME_1 ...",
}
PICTURES = {"i": "first.png", "ei": "last.png", "ci": "control.png", "cn": "control.mp4"}
"""The files that a prompt line names, by flag."""
CLIPS: dict[str, str | int | float | bool | list[int]] = {
    "target_frames": [1, 25, 45],
    "frame_extraction": "head",
}


def job_file(recipe: Recipe, folder: Path) -> str:
    """Return the text of job.toml. Paths in it are relative to the file."""
    network, sampling = recipe.network, recipe.sampling
    lines = [
        f"# Trains a LoRA on {recipe.title}. Start it with: musabi run {folder / 'job.toml'}",
        "# Every setting of the README's table can stand here, in lower case. What is left out is chosen.",
        "",
        f"model = {_value(recipe.name)}",
        "",
        "# The name of the LoRA files. Change it for each LoRA.",
        'output_name = "my_lora"',
        'output_dir = "output"',
        'logging_dir = "logs"',
        "",
        "# What it is trained on, and what it is shown with at the end.",
        'dataset_config = "dataset.toml"',
        'sample_prompts = "sample_prompts.txt"',
        "",
        "# How long: about this many steps. Or say max_train_epochs.",
        "target_steps = 2500",
        "",
        "# prodigy finds the learning rate by itself; adamw8bit takes learning_rate.",
        'optimizer = "prodigy"',
        f"# learning_rate = {network.learning_rate:g}",
        "",
        "# More rank: more detail, larger files.",
        f"network_dim = {network.dim}",
        f"network_alpha = {network.alpha:g}",
        "",
        "# A word that stands in every caption and calls the LoRA up.",
        '# trigger_word = "myword"',
        "",
        "# Write the captions that are missing first (needs a GPU): joycaption, qwen2.5-vl or qwen3-vl.",
        '# caption_with = "qwen2.5-vl"',
        "",
        "# Where the results go when the run is done, and what happens to the pod then.",
        '# publish_to = "hf:USER/REPO"',
        '# on_finish = "stop"',
    ]
    if sampling.frames > 1:
        lines.insert(4, f"# Makes videos of {sampling.width}x{sampling.height}, {sampling.frames} frames.")
    for trap in recipe.traps:
        lines += ["", f"# {trap.what}", f"# {trap.do}"]
    return "\n".join(lines) + "\n"


def dataset_file(recipe: Recipe, folder: Path) -> str:
    """Return the text of dataset.toml. Its paths are absolute, since the trainer runs elsewhere."""
    rules = recipe.dataset
    videos = "video" in rules.takes and recipe.makes == "video" and rules.takes[0] == "video"
    kind = "videos" if videos else "images"
    example_name = "photo.mp4" if videos else "photo.jpg"
    example = {"resolution": [1024, 1024], "batch_size": 1} | ({"resolution": [960, 544]} if videos else {})
    shown = example | dict(rules.example)
    common = {name: shown.pop(name) for name in ("resolution", "batch_size") if name in shown}
    lines = [
        f"# The {kind} that {recipe.title} is trained on. Each needs a text file of the same name that says",
        f"# what it shows: {example_name} and photo.txt. Look at them with: musabi check dataset.toml",
        "",
        "[general]",
        "# Width and height in pixels to train at. More detail takes more GPU memory and time.",
        f"resolution = {_value(common['resolution'])}",
        'caption_extension = ".txt"',
        "# How many are trained on at once. Raise it where the GPU's memory allows.",
        f"batch_size = {_value(common['batch_size'])}",
        "# Keep each shape instead of cropping all to one.",
        "enable_bucket = true",
        "",
        "[[datasets]]",
        f"{kind[:-1]}_directory = {_value(str(folder / kind))}",
        f"cache_directory = {_value(str(folder / 'cache'))}",
        "num_repeats = 1",
    ]
    if rules.control in CONTROL_WORDS:
        lines += [
            f"# {CONTROL_WORDS[rules.control]}.",
            f"control_directory = {_value(str(folder / 'control'))}",
        ]
    if rules.multiple_target:
        lines += ["# Each image is a set of layers: NAME_0.png, NAME_1.png ...", "multiple_target = true"]
    if videos:
        shown = CLIPS | shown
        lines.append(f"# Lengths of the clips in frames, each {rules.latent_frames} x N + 1.")
    lines += [f"{name} = {_value(value)}" for name, value in shown.items()]
    return "\n".join(lines) + "\n"


def prompts_file(recipe: Recipe, folder: Path) -> str:
    """Return the text of sample_prompts.txt: a prompt a line, with the flags that this model knows."""
    sampling, known = recipe.sampling, recipe.sampling.prompt_flags
    values: dict[str, object] = {
        "w": sampling.width,
        "h": sampling.height,
        "f": sampling.frames if sampling.frames > 1 else None,
        "d": 42,
        "s": sampling.steps,
        # Where a model's lines know no --l, --g is its guidance.
        "g": sampling.embedded_guidance if "l" in known else sampling.embedded_guidance or sampling.guidance,
        "l": sampling.guidance,
        "fs": sampling.flow_shift,
        "n": "blurry, deformed",
        "of": sampling.one_frame,
    }
    flags = [f"--{name} {value}" for name, value in values.items() if value is not None and name in known]
    named = _pictures(recipe)
    flags += [f"--{name} {folder / file}" for name, file in named]
    lines = ["# A prompt a line. Change it to what your LoRA is about."]
    if named:
        lines.append(
            f"# It names {' and '.join(dict.fromkeys(file for _, file in named))}: put your own there."
        )
    return "\n".join([*lines, " ".join(["a photo of myword", *flags]), ""])


def _pictures(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Return the flags of a prompt line that name files, each with the file that it names.

    In one-frame inference there is a control picture for each index: the first, then the last one, again.
    """
    files = {name: file for name, file in PICTURES.items() if name in recipe.sampling.prompt_flags}
    indices = recipe.dataset.example.get("fp_1f_clean_indices")
    if not isinstance(indices, list):
        return tuple(files.items())
    given = [file for name, file in files.items() if name in ("i", "ei")]
    controls = [
        given[number] if number < len(given) else f"control_{number}.png" for number in range(len(indices))
    ]
    rest = tuple(pair for pair in files.items() if pair[0] != "ci")
    return (*rest, *(("ci", file) for file in controls))


def _value(value: object) -> str:
    """Write a value as TOML does; lists and texts look the same in JSON."""
    return json.dumps(value, ensure_ascii=False)
