"""What can go wrong while publishing to the hub, as rows that are looked at before those of a download."""

from musabi.hub.faults import FAULTS, Fault, HubError, Signs, find, said

UPLOAD_FAULTS: tuple[Fault, ...] = (
    Fault(
        "unauthorized",
        "The hub refused HF_TOKEN (401). Replace it by a token with write access from "
        "{endpoint}/settings/tokens, then publish again.",
        status=(401,),
    ),
    Fault(
        "quota",
        "{owner} has no room left on the hub for {repo}. Make room, or publish with --public, then publish again.",
        status=(402, 403, 413, 507),
        pattern=r"storage|quota|payment|too large",
    ),
    Fault(
        "forbidden",
        "HF_TOKEN may not write to {repo} (403). Make a token with write access to {owner} at "
        "{endpoint}/settings/tokens, then publish again.",
        status=(403,),
    ),
    Fault(
        "forbidden",
        "HF_TOKEN may not write to {repo} (404). Check that {owner} is your account or an organization of yours.",
        status=(404,),
    ),
    Fault(
        "conflict",
        "Somebody else wrote to {repo} at the same time (409, 412). Publish again.",
        retry=True,
        status=(409, 412),
    ),
    Fault(
        "refused",
        "The hub did not take the files of {repo} ({status}): {text}",
        status=(400, 422),
    ),
    Fault(
        "refused",
        "The hub did not take the model card: {text}",
        pattern=r"invalid metadata in readme",
    ),
    Fault(
        "file",
        "A file changed or went away while it was sent to {repo}: {text} Publish again.",
        pattern=r"FileNotFoundError|No such file",
    ),
    Fault(
        "stalled",
        "{repo} took no byte for {stall_s} s, several times. Wait some minutes, then publish again: "
        "what has arrived is not sent twice.",
        retry=True,
        pattern=r"no byte for",
    ),
    *FAULTS,
    Fault("unknown", "{repo} could not be published: {text}", retry=True),
)


def upload_error(signs: Signs, **names: object) -> HubError:
    """Return the error to raise for some signs; `names` fill the sentence (repo, owner, endpoint, ...)."""
    return said(find(signs, UPLOAD_FAULTS), signs, names)
