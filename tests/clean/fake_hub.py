"""A server on this machine that answers what `datasets` asks of the hub when it streams a dataset."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

REVISION = "a" * 40


@dataclass
class Hub:
    """Datasets by name, each its files by path."""

    datasets: dict[str, dict[str, bytes]]
    breaks: int = 0
    """So many times a file's answer ends in the middle, as when a connection drops."""
    revision: str = REVISION
    """Of what `datasets` holds now."""
    older: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """What there was at other revisions."""
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def files(self, name: str, revision: str | None) -> dict[str, bytes] | None:
        """A dataset's files at a revision, by their paths."""
        if revision in (None, "main", self.revision):
            return self.datasets.get(name)
        return self.older.get(revision, {}).get(name)

    def commit(self, revision: str, name: str, files: dict[str, bytes]) -> None:
        """Let a dataset hold other files from now on."""
        self.older[self.revision] = self.datasets
        self.revision, self.datasets = revision, {**self.datasets, name: files}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file((self.hub.files(found[1], found[2]) or {}).get(found[3]), found[2])
        found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(?:/(.+))?", path)
        files = self.hub.files(found[1], found[3]) if found else None
        if found is None or files is None:
            gone = "RevisionNotFound" if found and self.hub.files(found[1], None) is not None else "RepoNotFound"
            return self._answer(404, b"{}", {"X-Error-Code": gone if found else "EntryNotFound"})
        if found[2] == "tree":
            return self._json(_tree(files, found[4] or ""))
        sha = self.hub.revision if found[3] in (None, "main") else found[3]
        return self._json({"id": found[1], "sha": sha, "siblings": [{"rfilename": name} for name in files]})

    do_HEAD = do_GET

    def _file(self, data: bytes | None, revision: str) -> None:
        if data is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part is None:
            return self._answer(200, data, headers)
        start, end = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return self._answer(206, data[start : end + 1], headers, may_break=True)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, code: int, body: bytes, headers: dict[str, str], may_break: bool = False) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if may_break and self.hub.breaks:
            self.hub.breaks -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _tree(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    """A folder's own entries."""
    inside = {name.removeprefix(f"{folder}/") if folder else name: data for name, data in files.items()}
    entries: dict[str, dict[str, Any]] = {}
    for name, data in inside.items():
        first, slash, _ = name.partition("/")
        path = f"{folder}/{first}" if folder else first
        if slash:
            entries[path] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        elif not folder or f"{folder}/{name}" in files:
            entries[path] = {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": path}
    return list(entries.values())
