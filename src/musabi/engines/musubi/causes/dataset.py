"""The dataset, its caches and its configuration."""

from musabi.engines.musubi.causes.cause import REQUEST, Cause

DATASET: tuple[Cause, ...] = (
    Cause(
        "no_videos",
        r"found 0 videos(?=[\s\S]*No training items found)",
        "The trainer found no video in the dataset's folder. Check video_directory in the dataset TOML and the "
        "kinds of the files with: musabi check",
        REQUEST,
        anywhere=True,
    ),
    Cause(
        "no_images",
        r"found 0 images(?=[\s\S]*No training items found)",
        "The trainer found no image in the dataset's folder. Check image_directory in the dataset TOML and the "
        "kinds of the files with: musabi check",
        REQUEST,
        anywhere=True,
    ),
    Cause(
        "no_items",
        r"\A(?![\s\S]*found 0 (?:videos|images))[\s\S]*No training items found",
        "The trainer found no cached item in the dataset. Check it with: musabi check. Then cache with: "
        "musabi prepare",
        REQUEST,
        anywhere=True,
    ),
    Cause(
        "cache_of_another_model",
        r"KeyError: '((?:varlen_)?(?:latents\w*|vl_embed|llm_embed|t5\w*|clip_l\w*|llama\w*|byt5\w*|ctx_vec|"
        r"image_embeds\w*|text_embeds\w*|pooled_embed\w*))'",
        "The cache lacks what this model needs ({0}): it was made for another one, or not at all. Cache again "
        "with: musabi prepare",
        REQUEST,
        ("train",),
    ),
    Cause(
        "extra_keys",
        r"extra keys not allowed @ data(\S+)",
        "The dataset TOML has a key that musubi-tuner does not know: {0}. Check it with: musabi check",
        REQUEST,
    ),
    Cause(
        "key_value",
        r"(expected \w+|not a valid value|value must be [^@\n]+?|expected a \w+) (?:for dictionary value )?@ data(\S+)",
        "The dataset TOML has a value of the wrong kind at {1}: {0}. Check it with: musabi check",
        REQUEST,
    ),
    Cause(
        "toml_broken",
        r"TomlDecodeError: ([^\n]+)",
        "The dataset TOML can't be read: {0}. Check it with: musabi check",
        REQUEST,
    ),
    Cause(
        "no_source",
        r"image_directory or image_jsonl_file must be specified|video_directory or video_jsonl_file must be",
        "A [[datasets]] part of the dataset TOML names no folder of images or videos. Add image_directory or "
        "video_directory.",
        REQUEST,
    ),
    Cause(
        "control_missing",
        r"Could not find matching control (\w+)|(images) do not have control paths|Not enough control (images)|"
        r"(videos) do not have control paths|requires exactly one (control content)",
        "Not every item has its control {0}. Give it the item's own name in control_directory, and find what "
        "is missing with: musabi check",
        REQUEST,
    ),
    Cause(
        "bad_image",
        r"cannot identify image file '([^']+)'",
        "{0} is no picture that can be read. Replace or remove it.",
        REQUEST,
    ),
    Cause(
        "cut_off_image",
        r"image file is truncated|broken data stream when reading image file",
        "A picture of the dataset is cut off. Find it with: musabi check",
        REQUEST,
    ),
    Cause(
        "huge_image",
        r"DecompressionBombError",
        "A picture of the dataset has far too many pixels. Make it smaller; find it with: musabi check",
        REQUEST,
    ),
    Cause(
        "bad_video",
        r"Invalid data found when processing input|moov atom not found",
        "A video of the dataset can't be read. Find it with: musabi check. Then replace or remove it.",
        REQUEST,
    ),
    Cause(
        "too_small",
        r"(?:Image|Image or video) size too small: (\S+)",
        "{0} is too small for its bucket. Remove it, or raise the resolution in the dataset TOML.",
        REQUEST,
    ),
    Cause(
        "frame_extraction",
        r"frame_extraction (\S+) is not supported",
        "The dataset TOML asks for frame_extraction {0}, which there is not. Write head, chunk, slide, uniform "
        "or full.",
        REQUEST,
    ),
    Cause(
        "not_utf8",
        r"UnicodeDecodeError: '([\w-]+)' codec can't decode",
        "A caption or the configuration is not written in UTF-8. Find it with: musabi check. Then save it as UTF-8.",
        REQUEST,
    ),
    Cause(
        "file_name_encoding",
        r"UnicodeEncodeError: '([\w-]+)' codec can't encode",
        "A file's name or a caption has letters that the trainer could not print ({0}). Set LC_ALL=C.UTF-8, or "
        "rename the file with plain letters.",
        REQUEST,
    ),
)
