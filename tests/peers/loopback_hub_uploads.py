"""The loopback hub with the write protocol: repos are made, files preuploaded, LFS objects put, commits taken.

    hub.tokens = {"hf_...": "write"}      # or "read"
    hub.accounts = {"tester"}             # namespaces that a write token may write to
    hub.fail("500", method="PUT", path="/lfs/", times=1)
    hub.fail("stall", method="PUT", path="/lfs/")   # takes the body and never answers

Large files (`part_bytes` and more) are taken in parts. `objects` holds what has arrived by sha256, `received`
counts the bytes of bodies by sha256, `commits` the messages with the paths that each changed.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from peers.loopback_hub import STALL_SECONDS, LoopbackHub, Repo, Seen, _Handler, git_blob, running

PIECE = 64 * 1024


class UploadHub(LoopbackHub):
    """A hub that takes files as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, str] = {}
        self.accounts: set[str] = {"tester"}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.received: dict[str, int] = {}
        self.commits: list[tuple[str, list[str]]] = []
        self.part_bytes = 1_000_000
        hub = self

        class Handler(_UploadHandler):
            owner = hub

        self.server.RequestHandlerClass = Handler


@contextmanager
def running_upload_hub(token: str | None = None) -> Iterator[UploadHub]:
    """Yield a hub that listens until the block ends; `token` is one that may write there."""
    with running(UploadHub()) as hub:
        if token is not None:
            hub.tokens = {token: "write"}
        yield hub


class _UploadHandler(_Handler):
    owner: UploadHub

    def do_POST(self) -> None:  # noqa: N802 - the base class asks for this name
        self._write("POST")

    def do_PUT(self) -> None:  # noqa: N802 - the base class asks for this name
        self._write("PUT")

    def _write(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.owner.seen.append(Seen(method, path, self.headers.get("Authorization"), None, time.monotonic()))
        fault = self.owner.fault_for(method, path)
        body = self._read(path)
        if fault == "stall":
            self.owner.over.wait(STALL_SECONDS)
            self.close_connection = True
        elif fault is not None:
            self._refuse(int(fault), None, "on demand")
        elif path.startswith("/lfs/"):
            self._lfs(method, path, body)
        elif not self._may_write(path, body):
            return
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/preupload/" in path:
            self._preupload(self._repo(path), json.loads(body))
        elif path.endswith("/settings"):
            self._settings(path, json.loads(body))
        elif "/commit/" in path:
            self._commit(path, self._repo(path), body)
        else:
            self._refuse(404, None, "no such page")

    def _read(self, path: str) -> bytes:
        left = int(self.headers.get("Content-Length", "0"))
        body = bytearray()
        while left:
            piece = self.rfile.read(min(PIECE, left))
            if not piece:
                break
            body += piece
            left -= len(piece)
            if path.startswith("/lfs/"):
                oid = path.split("/")[2]
                self.owner.received[oid] = self.owner.received.get(oid, 0) + len(piece)
                if self.owner.bytes_per_second:
                    time.sleep(len(piece) / self.owner.bytes_per_second)
        return bytes(body)

    def _may_write(self, path: str, body: bytes) -> bool:
        if path == "/api/validate-yaml":
            return True
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        role = self.owner.tokens.get(token)
        if role is None:
            self._refuse(401, None, "Invalid username or password.")
            return False
        if path == "/api/repos/create":
            owner = json.loads(body).get("organization")
        else:
            owner = path.removeprefix("/api/models/").strip("/").split("/")[0]
        if role != "write" or owner not in self.owner.accounts:
            self._refuse(403, None, "You don't have the rights to do this.")
            return False
        return True

    def _repo(self, path: str) -> Repo | None:
        owner, name = path.removeprefix("/api/models/").split("/")[:2]
        return self.owner.repos.get(f"{owner}/{name}")

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        if repo in self.owner.repos:
            self._json(
                {"error": "You already created this model repo", "url": f"{self.owner.url}/{repo}"}, 409
            )
            return
        self.owner.add(repo, {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.owner.private[repo] = wanted.get("visibility") == "private"
        self._json({"url": f"{self.owner.url}/{repo}", "name": repo})

    def _settings(self, path: str, wanted: dict[str, Any]) -> None:
        if self._repo(path) is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return
        private = wanted["private"] if "private" in wanted else wanted["visibility"] == "private"
        self.owner.private["/".join(path.split("/")[3:5])] = private
        self._json({})

    def _validate(self, wanted: dict[str, Any]) -> None:
        text = wanted["content"]
        try:
            values = yaml.safe_load(text.split("---")[1])
            wrong = [] if isinstance(values, dict) else [{"message": "no metadata"}]
        except (yaml.YAMLError, IndexError) as error:
            wrong = [{"message": str(error)}]
        self._json({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def _preupload(self, repo: Repo | None, wanted: dict[str, Any]) -> None:
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return
        files = []
        for file in wanted["files"]:
            there = repo.files.get(file["path"])
            lfs = file["path"].endswith((".safetensors", ".png"))
            oid = None
            if there is not None:
                oid = hashlib.sha256(there).hexdigest() if lfs else git_blob(there)
            mode = "lfs" if lfs else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": files})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = []
        for one in wanted["objects"]:
            oid, size = one["oid"], one["size"]
            about: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.owner.objects:
                about["actions"] = {
                    "upload": self._upload_action(oid, size),
                    "verify": {"href": f"{self.owner.url}/lfs/{oid}/verify"},
                }
            objects.append(about)
        self._json({"transfer": "multipart", "objects": objects})

    def _upload_action(self, oid: str, size: int) -> dict[str, Any]:
        if size < self.owner.part_bytes:
            return {"href": f"{self.owner.url}/lfs/{oid}/whole"}
        count = -(-size // self.owner.part_bytes)
        parts = {str(n): f"{self.owner.url}/lfs/{oid}/part/{n}" for n in range(1, count + 1)}
        return {
            "href": f"{self.owner.url}/lfs/{oid}/complete",
            "header": {"chunk_size": str(self.owner.part_bytes), **parts},
        }

    def _lfs(self, method: str, path: str, body: bytes) -> None:
        _, _, oid, what, *rest = path.split("/")
        if what == "part":
            self.owner.parts[oid, int(rest[0])] = body
            self._json({}, 200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
            return
        if what == "complete":
            numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
            body = b"".join(self.owner.parts[oid, number] for number in numbers)
        if what == "verify":
            known = oid in self.owner.objects
            self._json({}) if known else self._refuse(404, None, "not there")
            return
        if hashlib.sha256(body).hexdigest() != oid:
            self._refuse(400, None, "the content is not what its oid says")
            return
        self.owner.objects[oid] = body
        self._json({})

    def _commit(self, path: str, repo: Repo | None, body: bytes) -> None:
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return
        lines = [json.loads(line) for line in body.decode().splitlines()]
        changed: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.owner.objects:
                    self._refuse(400, None, f"{value['path']} was not uploaded")
                    return
                changed[value["path"]] = self.owner.objects[value["oid"]]
        repo.files.update(changed)
        self.owner.commits.append((lines[0]["value"]["summary"], sorted(changed)))
        name = "/".join(path.split("/")[3:5])
        self._json(
            {
                "success": True,
                "commitUrl": f"{self.owner.url}/{name}/commit/{repo.commit}",
                "commitOid": repo.commit,
                "hookOutput": "",
            }
        )

    def _api(self, path: str) -> None:
        """Answer as the plain hub does, but private repos only to those who may see them."""
        if path == "/api/whoami-v2":
            self._who()
            return
        name = "/".join(path.split("/")[3:5])
        private = self.owner.private.get(name, False)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if private and token not in self.owner.tokens:
            self._refuse(401, "RepoNotFound", "Repository not found")
            return
        self.private = private
        super()._api(path)

    def _who(self) -> None:
        role = self.owner.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if role is None:
            self._refuse(401, None, "Invalid user token.")
            return
        token = {"displayName": "test", "role": role}
        self._json({"name": "tester", "type": "user", "orgs": [], "auth": {"accessToken": token}})

    def _json(self, value: object, status: int = 200, **headers: str) -> None:
        if isinstance(value, dict) and "siblings" in value:
            value["private"] = self.private
        answer = json.dumps(value).encode()
        self.send_response(status)
        for header, text in headers.items():
            self.send_header(header, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
