"""What will be needed is worked out before anything is fetched."""

from pathlib import Path

import pytest

from musabi.errors import MachineError
from musabi.hub.faults import Signs, hub_error
from musabi.hub.listing import missing_bytes


def test_folders_on_one_disk_are_counted_together(tmp_path: Path) -> None:
    needs = [(tmp_path / "a" / "b", 600), (tmp_path / "c", 700)]
    missing_bytes(needs, free=lambda _folder: 1300)
    with pytest.raises(MachineError, match="so 100 bytes"):
        missing_bytes(needs, free=lambda _folder: 1200)


@pytest.mark.parametrize(
    ("signs", "kind", "retry"),
    [
        (Signs(403, "GatedRepo", "", True), "gated", False),
        (Signs(403, "GatedRepo", "", False), "gated", False),
        (Signs(401, None, "", True), "unauthorized", False),
        (Signs(401, "RepoNotFound", "", False), "unauthorized", False),
        (Signs(429), "rate", True),
        (Signs(502), "server", True),
        (Signs(None, None, "OSError: [Errno 28] No space left on device"), "disk", False),
        (Signs(None, None, "ConnectError: [Errno -2] Name or service not known"), "dns", True),
        (Signs(None, None, "ReadTimeout: timed out"), "connection", True),
        (Signs(None, None, "something else"), "unknown", True),
    ],
)
def test_signs_are_told_apart(signs: Signs, kind: str, retry: bool) -> None:
    error = hub_error(signs, repo="a/b", endpoint="https://hub")
    assert (error.kind, error.retry) == (kind, retry)
    assert ("{" not in str(error) and "a/b" in str(error)) or kind in ("rate", "server", "dns", "connection")


def test_a_message_holds_no_password_of_a_url() -> None:
    error = hub_error(
        Signs(text="odd answer from https://me:secret@host/x"), repo="a/b", endpoint="https://hub"
    )
    assert "secret" not in str(error)
