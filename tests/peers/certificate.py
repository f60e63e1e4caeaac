"""A certificate for a loopback server that speaks TLS."""

import ssl
import subprocess
from pathlib import Path
from socketserver import BaseServer


def certificate(folder: Path, *names: str) -> Path:
    """Return a file with a self-signed certificate for the names, and its key."""
    made = folder / "made.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(folder / "key.pem"), "-out", str(made), "-days", "2", "-subj", f"/CN={names[0]}"]
    words += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    made.write_text(made.read_text() + (folder / "key.pem").read_text())
    return made


def speak_tls(server: BaseServer, made: Path) -> list[str | None]:
    """Let a server speak TLS from now on; return the list of the names that it is asked by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)  # type: ignore[assignment]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return asked
