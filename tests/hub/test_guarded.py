"""No address that a stranger names leads inside: whatever it looks like, no connection is made there."""

import ipaddress
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from musabi.errors import MachineError, RequestError
from musabi.hub.addresses import is_public
from musabi.hub.guarded import Network, check_host, guarded_client
from peers.certificate import certificate, speak_tls
from peers.loopback_files import LoopbackFiles, running_files
from peers.recording_network import RecordingNetwork

PUBLIC, OTHER = "93.184.216.34", "151.101.1.140"
CONTENT = b"whole"
HOSTILE = (
    # This machine, in every spelling that the C library takes.
    "https://127.0.0.1/x", "https://127.1/x", "https://2130706433/x", "https://0x7f.1/x", "https://0177.0.0.1/x",
    "https://0x7f000001/x", "https://017700000001/x", "https://127.0.0.1:8000/x", "https://0/x", "https://0.0.0.0/",
    "https://localhost/x", "https://localhost./x", "https://LOCALHOST/x", "https://[::1]/x", "https://[::]/x",
    "https://[0:0:0:0:0:0:0:1]/x", "https://[::ffff:127.0.0.1]/x", "https://[::ffff:7f00:1]/x",
    "https://[64:ff9b::7f00:1]/x", "https://[2002:7f00:1::]/x", "https://[::127.0.0.1]/x",
    # Networks inside, link-local with and without a zone, metadata of the clouds.
    "https://10.1.2.3/x", "https://172.31.0.9/x", "https://192.168.1.1/", "https://100.100.100.200/latest",
    "https://169.254.169.254/latest/meta-data", "https://2852039166/latest", "https://[fd00:ec2::254]/latest",
    "https://[fe80::1]/x", "https://[fe80::1%25eth0]/x", "https://[fe80::1%eth0]/x", "https://192.0.0.192/opc",
    "https://168.63.129.16/metadata", "https://metadata.google.internal/x", "https://inside.example/x",
    "https://half.example/x", "https://224.0.0.1/x", "https://255.255.255.255/x", "https://[ff02::1]/x",
    "https://[2001:0:5db8:d822::1]/x",
    # Another host than it seems.
    "https://public.example@127.0.0.1/x", "https://public.example:443@127.0.0.1/x", "https://127.0.0.1#@public.example/",
    "https://127.0.0.1\\@public.example/x", "https://public.example\\@127.0.0.1/x", "https://127.0.0.1?@public.example/",
    "https://169\u3002254\u3002169\u3002254/x", "https://127\uff0e0\uff0e0\uff0e1/x", "https://\u2460\u2461\u2466.0.0.1/x",
    "https://\uff11\uff12\uff17.0.0.1/x", "https://%31%32%37.0.0.1/x", "https://%6cocalhost/x",
    "https://local\u00adhost/x", "https://127.0.0.1\t/x", "https://127.0.0.1\r\nHost: public.example/x",
    # No address of a file at all.
    "file:///etc/passwd", "file://public.example/etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://public.example/x",
    "data:text/plain,x", "dict://127.0.0.1:11211/", "unix:///run/docker.sock", "http://public.example/x",
    "http://127.0.0.1/x", "https://", "https:///x", "https://:443/x", "https://.../x", "https://[::1", "https://[]/x",
    "//127.0.0.1/x", "127.0.0.1/x", "", "javascript:alert(1)", "https://[v1.x]/", "https://public.example:99999/x",
    "https://public.example:-1/x", "https://user:secret@public.example/x", "https://\x00/x",
    "https://" + "a" * 300 + "/", "https://\udcff/x",
)  # fmt: skip
"""More than forty, each a way that got past some guard."""


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackFiles]:
    with running_files() as running:
        yield running


@pytest.fixture
def files(server: LoopbackFiles) -> LoopbackFiles:
    """The server, with nothing on it but /x and nothing seen."""
    server.files, server.redirects, server.seen, server.bytes_per_second = {}, {}, [], 0
    server.add("/x", CONTENT)
    return server


NAMES = {
    "public.example": [PUBLIC],
    "other.example": [OTHER],
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "inside.example": ["10.0.0.8"],
    "half.example": [PUBLIC, "192.168.0.1"],
}


@pytest.fixture(scope="module")
def network(server: LoopbackFiles) -> RecordingNetwork:
    """A network in which the inside leads to the server too, so that a request that gets through is seen."""
    network = RecordingNetwork()
    for address in (PUBLIC, OTHER, "127.0.0.1", "10.0.0.8", "169.254.169.254"):
        network.lead(address, server.url)
    return network


@pytest.fixture
def outside(network: RecordingNetwork) -> RecordingNetwork:
    """The network with its names, and nothing asked of it yet."""
    network.names = {name: [addresses] for name, addresses in NAMES.items()}
    network.looked_up, network.connects = [], []
    return network


@pytest.fixture(scope="module")
def following(network: RecordingNetwork) -> Iterator[httpx.Client]:
    with guarded_client(network.as_network(), follow_redirects=True) as client:
        yield client


def only_public(network: RecordingNetwork) -> bool:
    return all(is_public(ipaddress.ip_address(address)) for address, _ in network.connects)


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_a_hostile_address_is_not_asked(
    url: str, outside: RecordingNetwork, files: LoopbackFiles, following: httpx.Client
) -> None:
    with pytest.raises((RequestError, MachineError, httpx.InvalidURL)) as refused:
        following.get(url)
    assert outside.connects == [] and files.seen == []
    assert "secret" not in str(refused.value)
    with pytest.raises((RequestError, MachineError)):
        check_host(url, outside.as_network())
    assert outside.connects == []


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_a_redirect_to_a_hostile_address_is_not_followed(
    url: str, outside: RecordingNetwork, files: LoopbackFiles, following: httpx.Client
) -> None:
    location = url.replace("\r", "%0d").replace("\n", "%0a").encode("utf-8", "replace").decode("latin-1")
    files.redirect("/go", "/again")
    files.redirect("/again", location)
    try:
        answer = following.get("https://public.example/go")
    except (RequestError, MachineError, httpx.HTTPError, httpx.InvalidURL):
        answer = None
    assert [path for path, _ in files.seen][:2] == ["/go", "/again"]
    assert only_public(outside)
    # A relative word, or an http answer to it, stays on the host that was asked.
    assert answer is None or answer.url.host == "public.example"


def test_a_name_that_answers_differently_the_second_time_leads_nowhere(
    outside: RecordingNetwork, files: LoopbackFiles
) -> None:
    outside.names["turns.example"] = [[PUBLIC], ["127.0.0.1"]]
    network = outside.as_network()
    check_host("https://turns.example/x", network)
    with guarded_client(network) as client, pytest.raises(RequestError, match="private network"):
        client.get("https://turns.example/x")
    assert outside.connects == [] and files.seen == []


def test_a_connection_goes_to_what_was_looked_up_and_is_shared_by_name_alone(
    outside: RecordingNetwork,
) -> None:
    outside.names["also.example"] = [[PUBLIC]]
    with guarded_client(outside.as_network()) as client:
        for url in ("https://public.example/x", "https://public.example/x", "https://also.example:8443/x"):
            assert client.get(url).content == CONTENT
    assert outside.connects == [(PUBLIC, 443), (PUBLIC, 8443)]
    assert outside.looked_up == ["public.example", "also.example"]


def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(outside: RecordingNetwork) -> None:
    outside.names["two.example"] = [["2606:2800::1", PUBLIC]]
    with guarded_client(outside.as_network()) as client:
        assert client.get("https://two.example/x").content == CONTENT
    assert outside.connects == [("2606:2800::1", 443), (PUBLIC, 443)]


def test_a_server_that_is_gone_is_an_error_of_httpx(outside: RecordingNetwork, files: LoopbackFiles) -> None:
    outside.names["gone.example"] = [["8.8.4.4"]]
    with guarded_client(outside.as_network()) as client:
        with pytest.raises(httpx.ConnectError):
            client.get("https://gone.example/x")
        files.add("/long", b"x" * 300_000)
        files.fail("cut")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("https://public.example/long")


def test_a_server_that_says_nothing_is_given_up(outside: RecordingNetwork, files: LoopbackFiles) -> None:
    files.add("/slow", b"x" * 300_000)
    files.bytes_per_second = 100_000
    with guarded_client(outside.as_network(), silence_s=0.1) as client, pytest.raises(httpx.ReadTimeout):
        client.get("https://public.example/slow")


def test_bodies_and_headers_reach_the_server(outside: RecordingNetwork, files: LoopbackFiles) -> None:
    with guarded_client(outside.as_network()) as client:
        client.get("https://public.example/x?a=1&b=%20", headers={"Range": "bytes=2-"})
        assert files.seen == [("/x", "bytes=2-")]
        assert client.post("https://public.example/x", content=b"body").status_code == 501


@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_no_proxy_of_the_environment_is_used(
    name: str, outside: RecordingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with guarded_client(outside.as_network()) as client:
        assert client.get("https://public.example/x").content == CONTENT


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_each_name_is_proved_although_both_share_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was proved for one name must not be used for another on the same address."""
    made = certificate(tmp_path, "public.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    outside = RecordingNetwork({"also.example": [[PUBLIC]]}, tls=True)
    with running_files() as files, guarded_client(outside.as_network()) as client:
        asked = speak_tls(files.server, made)
        files.add("/x", CONTENT)
        outside.host("public.example", PUBLIC, files.url)
        assert client.get("https://public.example/x").content == CONTENT
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get("https://also.example/x")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get("https://also.example/x", extensions={"sni_hostname": "public.example"})
    assert asked[0] == "public.example" and "also.example" in asked


def test_the_real_network_looks_up_by_the_machine() -> None:
    with guarded_client(Network()) as client, pytest.raises(RequestError, match="private network"):
        client.get("https://localhost/x")
