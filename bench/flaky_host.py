"""A web host on this machine that serves files, with ranges or without, and misbehaves in the order it is told to."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

DROPS = ("drop", "short", "elsewhere", "reset", "503", "429", "page")
"""What breaks an answer at once. After `stall`, and `stall in the middle`, nothing more comes."""


@dataclass
class Host:
    """Files by name. Each request takes the next of `faults`, or none when they are used up."""

    files: dict[str, bytes]
    ranges: bool = True
    tagged: bool = True
    headers: dict[str, str | None] = field(default_factory=dict)
    """Said with every answer; None leaves one out."""
    faults: Iterator[str] = field(default_factory=lambda: iter(()))
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Of each request: the file, and the fault that it met."""
    sent: int = 0
    port: int = 0
    server: ThreadingHTTPServer | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def misbehave(self, *faults: str, share: float = 1.0, seed: int = 0) -> None:
        """From now on such a share of the requests meets one of these."""
        draw = random.Random(seed)
        self.faults = (draw.choice(faults) if draw.random() < share else "" for _ in count())

    def open(self) -> None:
        self.closed.clear()
        self.server = _Server(("127.0.0.1", self.port), type("Bound", (_Handler,), {"host": self}))
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Whoever connects now is refused."""
        self.closed.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def away(self, seconds: float) -> None:
        """Be gone for a while."""
        self.close()
        threading.Timer(seconds, self.open).start()


@contextmanager
def serving(host: Host) -> Iterator[Host]:
    host.open()
    try:
        yield host
    finally:
        host.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the reader went away, as it may


class _Handler(BaseHTTPRequestHandler):
    host: Host
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.lstrip("/").partition("?")[0]
        fault = next(self.host.faults, "")
        self.host.asked.append((name, fault))
        self.close_connection = True
        if fault == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "stall":
            self.host.closed.wait(60)
        elif fault.isdigit():
            self._answer(int(fault), b"not now", {})
        elif fault == "page":
            self._answer(200, b"<html>Please log in to this wireless network</html>", {"Content-Type": "text/html"})
        elif name not in self.host.files:
            self._answer(404, b"", {})
        else:
            self._file(self.host.files[name], fault)

    def _file(self, data: bytes, fault: str) -> None:
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'} if self.host.tagged else {}
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "") if self.host.ranges else None
        if part is None:
            self._answer(200, data, headers, fault)
            return
        start, end = int(part[1]), min(int(part[2]) + 1, len(data))
        if start >= len(data):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        if fault == "short" and end - start > 1:  # less than was asked for, and rightly labelled
            end, fault = start + (end - start) // 2, ""
        if fault == "elsewhere" and start:  # a cache that is mistaken
            start, end = 0, end - start
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._answer(206, data[start:end], headers, fault)

    def _answer(self, code: int, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        self.send_response(code)
        length, kind = {"Content-Length": str(len(body))}, {"Content-Type": "application/octet-stream"}
        for name, value in {**length, **kind, **headers, **self.host.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if fault in ("drop", "short"):
            body = body[: len(body) // 2]
        elif fault == "stall in the middle":
            self.wfile.write(body[: len(body) // 2])
            self.host.closed.wait(60)
            return
        self.host.sent += len(body)
        self.wfile.write(body)
