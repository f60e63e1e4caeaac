"""Python packages and libraries of the trainer's environment."""

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

_OUTSIDE = (
    r"(?:/usr/(?:local/)?lib/python[\d.]+/dist-packages|[^\"\s(]*/\.local/lib/python[\d.]+/site-packages)"
)
_NO_COMPILER = (
    r"Failed to find C compiler|InvalidCxxCompiler|CppCompileError|Cannot find a working triton installation|"
    r"fatal error: Python\.h: No such file"
)

ENVIRONMENT: tuple[Cause, ...] = (
    Cause(
        "packages_outside",
        rf"""(?s)File "({_OUTSIDE}/[^"\n]+)".*\n(?:ImportError|AttributeError)|"""
        rf"ImportError: [^\n]*\(({_OUTSIDE}/[^)\n]+)\)",
        "A Python package outside the trainer's own environment got in its way: {0}. Uninstall it there, or "
        "unset PYTHONPATH, and install into the environment with musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        "module_missing",
        r"No module named '([^']+)'",
        "The trainer's environment lacks the Python package {0}. Run musabi bootstrap to mend it.",
        MACHINE,
    ),
    Cause(
        "package_version",
        r"cannot import name '(\w+)' from '[\w.]+' \((?!/usr/|[^)]*/\.local/)|"
        r"([\w-]+[<>=!~]+[\w.,<>=!~]+ is required for a normal functioning of this module)",
        "The trainer's packages don't fit each other: {0}. Run musabi bootstrap to mend it.",
        MACHINE,
    ),
    Cause(
        "torchvision",
        r"operator torchvision::nms does not exist",
        "torch and torchvision in the trainer's environment don't match. Run musabi bootstrap to mend it.",
        MACHINE,
    ),
    Cause(
        "built_for_another_torch",
        r"(\S+\.so)[^:\n]*: undefined symbol",
        "{0} was built for another torch than the installed one. Set ATTENTION=sdpa, or run musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        "system_library",
        r"(lib[\w+.-]+\.so[.\d]*): (?:cannot open shared object file|version `[^']+' not found)",
        "The system library {0} is missing or too old. Use the template's image, or install it: opencv needs "
        "libgl1 and libglib2.0-0.",
        MACHINE,
    ),
    Cause(
        "bitsandbytes_missing",
        r"No bitsandbytes",
        "AdamW8bit needs the package bitsandbytes, which the trainer's environment lacks. Run musabi bootstrap, "
        "or set OPTIMIZER=adamw.",
        MACHINE,
        ("train",),
    ),
    Cause(
        "bitsandbytes_failed",
        r"bitsandbytes library load error|libbitsandbytes_\w+|Configured CUDA binary not found|CUDA Setup failed",
        "bitsandbytes does not work with this GPU or this torch. Set OPTIMIZER=adamw, or run musabi bootstrap.",
        MACHINE,
        ("train",),
    ),
    Cause(
        "tracker_missing",
        r"No wandb / wandb",
        "Logging to wandb needs the package wandb, which the trainer's environment lacks. Leave --log_with out: "
        "TensorBoard is logged to anyway.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "compile_needs_compiler",
        _NO_COMPILER,
        "Compiling the model needs a C compiler, Python's headers and triton, and one is missing here. "
        "Set COMPILE=0.",
        MACHINE,
    ),
    Cause(
        "compile_failed",
        rf"(?s)\A(?!.*(?:{_NO_COMPILER})).*"
        r"(?:torch\._dynamo\.exc\.\w|BackendCompilerFailed|torch\._inductor\.exc\.\w|InductorError)",
        "The model could not be compiled with these settings. Set COMPILE=0; block swap and --split_attn are "
        "what most often stands in the way.",
        REQUEST,
    ),
)
