"""Only addresses of the public internet are asked for files, whatever a name claims."""

import pytest

from musabi.errors import MachineError, RequestError
from musabi.hub.addresses import check_address, shown

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "fec0::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1",
        "168.63.129.16", "192.0.0.192", "192.88.99.1", "198.18.0.1", "240.0.0.1", "192.0.2.1", "203.0.113.9",
        "100.100.100.200", "fd00:ec2::254", "2001:0:5db8:d822::1", "2001:db8::1", "3fff::1", "5f00::1",
        "64:ff9b:1::1", "::5db8:d822", "::ffff:0:5db8:d822", "4000::1", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_a_name_that_leads_into_a_private_network_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="private network"):
        check_address("https://innocent.example/x.zip", resolve=lambda _host, _port: [address])


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:2800::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"]
)
def test_addresses_of_the_public_internet_are_asked(address: str) -> None:
    assert check_address("https://a.example/", resolve=lambda _host, _port: [address]).host == "a.example"


def test_one_private_address_among_public_ones_is_enough() -> None:
    with pytest.raises(RequestError, match="private network"):
        check_address("https://a.example/", resolve=lambda _host, _port: [PUBLIC, "10.0.0.1"])


@pytest.mark.parametrize(
    "url", ["https://127.1/x", "https://2130706433/x", "https://0x7f.1/", "https://localhost/"]
)
def test_other_spellings_of_this_machine_are_refused(url: str) -> None:
    with pytest.raises((RequestError, MachineError)):
        check_address(url)


def test_a_name_with_letters_beyond_ascii_is_encoded_once() -> None:
    checked = check_address("https://b\u00fccher.example/x", resolve=lambda _host, _port: [PUBLIC])
    assert checked.host == "xn--bcher-kva.example"
    with pytest.raises(RequestError, match="no name of a host"):
        check_address("https://\u2603\ufffd.example/x", resolve=lambda _host, _port: [PUBLIC])


def test_plain_http_is_for_private_networks_alone_and_only_on_request() -> None:
    with pytest.raises(RequestError, match="not encrypted"):
        check_address("http://a.example/", resolve=lambda _host, _port: [PUBLIC])
    with pytest.raises(RequestError, match="not encrypted"):
        check_address("http://a.example/", allow_private=True, resolve=lambda _host, _port: [PUBLIC])
    with pytest.raises(RequestError, match="private network"):
        check_address("http://127.0.0.1/")
    assert check_address("http://127.0.0.1:8000/", allow_private=True).address == "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/x", "file:///etc/passwd", "https://", "https://a:b@c.example/", "https://[::1", "x"],
)
def test_what_is_no_address_of_a_file_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(RequestError) as refused:
        check_address(url, resolve=lambda _host, _port: [PUBLIC])
    assert "a:b" not in str(refused.value)


def test_a_name_that_nobody_knows_is_said_so() -> None:
    def fails(_host: str, _port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(MachineError, match=r"a\.example can't be looked up"):
        check_address("https://a.example/", resolve=fails)


def test_an_address_is_shown_without_user_password_and_signature() -> None:
    assert (
        shown("https://me:secret@h.example:444/a.zip?X-Amz-Signature=abc#f") == "https://h.example:444/a.zip"
    )
