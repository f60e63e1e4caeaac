"""Weight files: cut off, of another model, of another kind."""

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

_LOADING = r"Error\(s\) in loading state_dict for (?!T5|UMT5|LoRAN|LoHaN|LoKrN)(\w+)"
_KEYS = r".*(?:Missing|Unexpected) key"

WEIGHTS: tuple[Cause, ...] = (
    Cause(
        "cut_off_file",
        r"shape '\[[^]]*\]' is invalid for input of size|MetadataIncompleteBuffer|HeaderTooLarge|"
        r"InvalidHeader|HeaderTooSmall|Error while deserializing header|JSONDecodeError",
        "A weight or cache file is cut off. Fetch the weights again with musabi bootstrap, then cache again "
        "with: musabi prepare",
        MACHINE,
    ),
    Cause(
        "wrong_t5",
        r"Error\(s\) in loading state_dict for (?:T5\w+|UMT5\w+)",
        "The text encoder's file is not the one that Wan takes: it wants the encoder alone, "
        "models_t5_umt5-xxl-enc-bf16.pth. Correct TEXT_ENCODER_PATH.",
        REQUEST,
    ),
    Cause(
        "wrong_size",
        rf"(?s){_LOADING}(?!{_KEYS}).*size mismatch",
        "A weight file is of another size of the model: it does not fit {0}. Check that MODEL and the weights "
        "are of the same version.",
        REQUEST,
    ),
    Cause(
        "wrong_model",
        rf"(?s){_LOADING}(?={_KEYS})|"
        r"AssertionError: ((?:Missing|Unexpected) keys): \[",
        "A weight file belongs to another model: it does not fit {0}. Check DIT_PATH, VAE_PATH and "
        "TEXT_ENCODER_PATH.",
        REQUEST,
    ),
    Cause(
        "tensor_missing",
        r"Tensor '([^']+)' not found in the file",
        "A weight file lacks the part {0}, so it belongs to another model. Check DIT_PATH and "
        "TEXT_ENCODER_PATH.",
        REQUEST,
    ),
    Cause(
        "pickle_refused",
        r"Weights only load failed|UnpicklingError",
        "A weight file is no safetensors file and can't be read safely. Fetch it from its own repository with "
        "musabi bootstrap.",
        REQUEST,
    ),
)
