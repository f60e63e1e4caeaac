"""Hugging Face Hub: tokenizers, gated repositories, the network."""

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

HUB: tuple[Cause, ...] = (
    Cause(
        "gated_repo",
        r"(?s)(?:GatedRepoError|gated repo)(?:.*?huggingface\.co/(?:api/models/)?([\w.-]+/[\w.-]+))?",
        "{0} is a gated repository. Accept its licence on its page on huggingface.co, and set HF_TOKEN to a "
        "token of that account.",
        REQUEST,
    ),
    Cause(
        "hub_token",
        r"401 Client Error|Invalid user token|RepositoryNotFoundError",
        "The hub refused the token, or there is no such repository. Set HF_TOKEN to a valid one; run musabi "
        "doctor to test it.",
        REQUEST,
    ),
    Cause(
        "hub_busy",
        r"429 Client Error|Too Many Requests",
        "The hub takes no more requests from this address for now. Wait some minutes, and set HF_TOKEN: with a "
        "token it takes more.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "hub_timeout",
        r"ReadTimeout|ConnectTimeout|Read timed out|Connection timed out|50[234] Server Error",
        "The hub did not answer in time. Try again; what was fetched is kept.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "no_network",
        r"Temporary failure in name resolution|NameResolutionError|Name or service not known|"
        r"Network is unreachable|No route to host",
        "The machine has no way to the internet. Fetch everything with musabi bootstrap where it has one, or "
        "take another machine.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "tokenizer_missing",
        r"expected str, bytes or os\.PathLike object, not NoneType|Can't load (?:tokenizer|processor)|"
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled|"
        r"couldn't find them in the cached files",
        "The tokenizer is not in the hub cache, or is not whole. Run musabi bootstrap to fetch it.",
        MACHINE,
        ("cache", "train", "sample"),
    ),
)
