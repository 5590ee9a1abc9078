"""The ranks of a launch watch over each other: a rank that dies is named, and nobody waits for the dead.

Every rank holds a socket to rank 0, found through the launcher's store, from its first second to its last. The
kernel closes the socket of a process that dies, on this host or another, and its keepalive finds a host that is
gone; so no rank has to say that it is alive, however long it computes. Rank 0 tells the others whom it has lost.
A rank that ends by itself says so first, once it has told its error; what is left ends without another word.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from pipeline.train import restarts
from utils.console import EXIT_FILE, Stopped, UserError, rank
from utils.memory import kept_for_good

TOGETHER = 0.05
"""Seconds in which deaths count as one, for what ends one rank often ends its neighbours."""

PATIENCE = 3.0
"""Seconds that an error waits for word of a death, of which it may be an echo."""

IDLE, EVERY, PROBES = 4, 2, 3
"""Keepalive: a host that has not answered for about 10 s is gone."""

SILENCE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)

Word = dict[str, Any]
"""A line between two ranks, as JSON: `ready`, `left` (in good order?), or `dead` (which ranks, and how)."""


class Watch:
    """One rank's end: what it has heard, and how it leaves."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        """Rank 0 has prepared the workspace."""
        self.workspace = 0
        """The inode of the workspace as rank 0 sees it; a shared disk shows all hosts the same."""
        self.over = threading.Event()
        """Rank 0 has left in good order."""
        self.failed = False
        self._launcher = os.getppid()

    def start(self) -> None:
        """Begin to listen, beside whatever this rank does."""

    def say_ready(self, workspace: Path) -> None:
        """Rank 0 has prepared the workspace: all may read it."""

    def leave(self) -> None:
        """End of the watch; whatever was to be told is told."""

    def _end(self, dead: list[int], how: str) -> NoReturn:
        """End this process; the first of each host says why, unless the dead have said it (no `how`)."""
        if how and rank() == min(set(_ranks_here()) - set(dead), default=rank()):
            if os.getppid() != self._launcher:
                how = "the launcher died"
            goes_on = "the same command goes on from the newest checkpoint"
            if restarts.left():
                number = f"restart {restarts.used() + 1} of {restarts.used() + restarts.left()}"
                goes_on = f"all begin again from the newest checkpoint ({number})"
            print(f"error: {how}; {goes_on}", file=sys.stderr, flush=True)
            _note_failure()
        sys.stdout.flush()
        os._exit(1)


class Hub(Watch):
    """Rank 0's end: it hears of every death, and passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self._peers: dict[int, socket.socket] = {}
        self._dead: dict[int, str] = {}
        self._lock = threading.Lock()
        self._token = secrets.token_hex(8)
        family = socket.getaddrinfo(os.environ["MASTER_ADDR"], None)[0][0]
        self._listener = socket.create_server(("", 0), family=family, backlog=512)

    def start(self) -> None:
        """Say where to be found, and take in whoever comes."""
        place = {"port": self._listener.getsockname()[1], "token": self._token, "who": _who()}
        _store().set(_key(), json.dumps(place))
        _beside(self._take_in)

    def say_ready(self, workspace: Path) -> None:
        """To all who are there; who comes later is told then."""
        with self._lock:
            self.workspace = workspace.stat().st_ino
            self.ready.set()
            for peer in self._peers.values():
                _send(peer, {"ready": self.workspace})

    def leave(self) -> None:
        with self._lock:
            for peer in self._peers.values():
                _send(peer, {"left": not self.failed})
            self._peers.clear()
            self.over.set()  # before a peer that has heard it, and is gone, can be taken for dead

    def _take_in(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            _beside(lambda peer=peer: self._listen(peer))  # type: ignore[misc]

    def _listen(self, peer: socket.socket) -> None:
        """Until one rank has left, or is lost."""
        _keep_alive(peer)
        with peer, peer.makefile("r", encoding="utf-8") as lines:
            hello = _parsed(lines.readline())
            if hello.get("token") != self._token:
                return
            number, who = int(hello["rank"]), hello["who"]
            with self._lock:
                self._peers[number] = peer
                if self.ready.is_set():
                    _send(peer, {"ready": self.workspace})
            last, silent = _last_word(lines)
            with self._lock:
                self._peers.pop(number, None)
            if not last.get("left") and not self.over.is_set():
                self._lose(number, "" if "left" in last else _obituary(number, who, silent))

    def _lose(self, number: int, how: str) -> None:
        """The first who is lost waits for others to be, then ends the launch."""
        with self._lock:
            first = not self._dead
            self._dead[number] = how
        if first:
            time.sleep(TOGETHER)
            with self._lock:
                dead, how = sorted(self._dead), ", ".join(filter(None, self._dead.values()))
                for peer in self._peers.values():
                    _send(peer, {"dead": dead, "how": how})
            self._end(dead, how)


class Spoke(Watch):
    """Any other rank's end: it hears from rank 0, and of it."""

    def __init__(self) -> None:
        super().__init__()
        self._peer: socket.socket | None = None

    def start(self) -> None:
        _beside(self._attend)

    def leave(self) -> None:
        self.over.set()
        if self._peer:
            _send(self._peer, {"left": not self.failed})

    def _heed(self, word: Word) -> None:
        if "ready" in word:
            self.workspace = word["ready"]
            self.ready.set()

    def _attend(self) -> None:
        """Find rank 0, and hear it to its end."""
        place = _parsed(_wait_for(_key()))
        try:
            peer = socket.create_connection((os.environ["MASTER_ADDR"], place["port"]), timeout=30)
        except OSError:
            self.over.set()  # rank 0 is gone already: the launcher knows how
            return
        peer.settimeout(None)
        _keep_alive(peer)
        self._peer = peer
        _send(peer, {"token": place["token"], "rank": rank(), "who": _who()})
        with peer.makefile("r", encoding="utf-8") as lines:
            last, silent = _last_word(lines, self._heed)
        if self.over.is_set():
            return
        if last.get("left"):
            self.over.set()
        elif "dead" in last:
            self._end(last["dead"], last["how"])
        else:
            self._end([0], "" if "left" in last else _obituary(0, place["who"], silent))


@contextmanager
def watched() -> Iterator[Watch]:
    """Within: a rank that dies is named, and ends all of its launch. Without a launcher that has a store for its
    ranks to meet, nobody watches."""
    watch = Watch()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        with kept_for_good():
            import torch.distributed  # noqa: F401  (here, or two threads would import it at once)

        watch = Hub() if rank() == 0 else Spoke()
    watch.start()
    try:
        yield watch
    except BaseException as error:
        if type(watch) is not Watch:
            _wait_for_word(error)
        watch.failed = not isinstance(error, Stopped)
        atexit.register(watch.leave)  # when all is said
        raise
    watch.leave()


def _wait_for_word(error: BaseException) -> None:
    """An error may echo a death: sockets break, and the launcher stops who is left. Then the watch ends us."""
    if isinstance(error, UserError | SystemExit | KeyboardInterrupt):
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(PATIENCE if isinstance(error, Exception) else PATIENCE / 6)


# ---------------------------------------------------------------- who and where


def _ranks_here() -> range:
    """The ranks of this host."""
    first = rank() - int(os.environ.get("LOCAL_RANK", "0"))
    return range(first, first + int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _who() -> Word:
    """This process, as another may look it up: its pid counts only where both see the same processes."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "processes": _processes()}


def _processes() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _obituary(number: int, who: Word, silent: bool) -> str:
    """Who died, where if there are several hosts, and of what if that can be seen."""
    several = int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
    name = f"rank {number}" + (f" on {who['host']}" if several else "")
    if silent:
        return f"{name} no longer answers"
    signum = _killer(int(who["pid"])) if who["processes"] and who["processes"] == _processes() else 0
    return f"{name} died" + (f" (signal {signum})" if signum else "")


def _killer(pid: int) -> int:
    """The signal that ended a process of this host, while its launcher has not buried it yet; else 0."""
    for _ in range(50):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return 0
        if fields[0] == "Z":
            return int(fields[-1]) & 0x7F
        time.sleep(0.002)
    return 0


def _note_failure() -> None:
    """For a parent that a launcher stands in front of."""
    note = os.environ.get(EXIT_FILE)
    if note and not Path(note).exists():
        Path(note).write_text("1", encoding="ascii")


# ---------------------------------------------------------------- messages


def _store():  # type: ignore[no-untyped-def]  # torch is imported only where there are several ranks
    from torch.distributed import TCPStore

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timedelta(minutes=10))


def _key() -> str:
    return f"yaya/watch/{restarts.used()}"


def _wait_for(key: str) -> str:
    """A value of the store, however long rank 0 takes to come."""
    from torch.distributed import DistStoreError

    store = _store()
    while True:
        try:
            return store.get(key).decode()  # type: ignore[no-any-return]
        except DistStoreError:
            continue


def _beside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _send(peer: socket.socket, word: Word) -> None:
    try:
        peer.sendall((json.dumps(word) + "\n").encode())
    except OSError:
        return  # it is gone, and who listens to it hears that


def _parsed(line: str) -> Word:
    try:
        word = json.loads(line)
    except ValueError:
        return {}
    return word if isinstance(word, dict) else {}


def _last_word(lines: Iterable[str], heed: Callable[[Word], object] = lambda word: None) -> tuple[Word, bool]:
    """The last thing that a peer says, and whether its host fell silent rather than closing its socket."""
    word: Word = {}
    try:
        for line in lines:
            word = _parsed(line)
            heed(word)
            if "left" in word or "dead" in word:
                break
    except OSError as error:
        return word, error.errno in SILENCE
    return word, False


def _keep_alive(peer: socket.socket) -> None:
    """Let the kernel ask whether the other host is there."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", EVERY), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):  # macOS has other names
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
