"""A stream from a host that drops connections: each row as if nothing had happened, whoever reads, however often."""

from __future__ import annotations

import io
import json
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.flaky_host import DROPS, Host, serving
from pipeline.train import patience, stream_source
from pipeline.train.dealing import share
from pipeline.train.stream import StreamFeed
from tests.train.streams import FILES, TEXTS, feed, lines, packed_lines, parquet, settled
from tests.train.test_stream import BATCH, LENGTH, read, same
from utils.codec import Codec
from utils.console import UserError

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.mark.parametrize("made", [parquet, lines, packed_lines])
@pytest.mark.parametrize(
    ("ranges", "seeds"),
    [(True, range(2)), (False, range(6)), pytest.param(True, range(2, 8), marks=pytest.mark.slow)],
)
def test_every_row_comes_once_through_every_fault(made: Callable, ranges: bool, seeds: range, codec: Codec) -> None:
    """Beyond the first epoch's end, so that each file is read to its last row, and read again."""
    with serving(Host(made(), ranges)) as host:
        whole = settled(host, codec, 40)
        for seed in seeds:
            host.misbehave(*DROPS, share=0.4, seed=seed)
            assert same(settled(host, codec, 40), whole)
        assert len({fault for _, fault in host.asked}) > 5


@pytest.mark.parametrize("fault", ["stall", "stall in the middle"])
def test_silence_ends(fault: str, codec: Codec) -> None:
    with serving(Host(parquet())) as host:
        whole = settled(host, codec)
        host.misbehave(fault, share=0.3, seed=1)
        began = time.monotonic()
        assert same(settled(host, codec), whole)
        assert time.monotonic() - began < 30
        assert fault in {fault for _, fault in host.asked}


def test_a_host_that_is_away_for_a_while(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.2,) * 6)
    with serving(Host(lines())) as host:
        whole = settled(host, codec)
        again = feed(host, codec)
        host.away(0.4)
        assert same(read(again, range(20)), whole)


def test_documents_are_never_lost_at_the_end_of_a_file(codec: Codec) -> None:
    """A body that stops short looks like the end of a file; here every answer does, at first."""
    for made in (parquet, lines, packed_lines):
        with serving(Host(made())) as host:
            host.misbehave("drop", "short", share=0.7)
            names = [host.url(name) for name in host.files]
            read_on = stream_source.Stream.open(names, "text").documents(stream_source.Anchor())
            assert sorted(next(read_on).text for _ in TEXTS) == sorted(TEXTS)


@pytest.mark.parametrize("made", [parquet, packed_lines])
def test_resume_is_exact_at_any_world_size(made: Callable, codec: Codec) -> None:
    """Stop after any step, with any number of processes, and go on with any other, over lines that drop."""
    with serving(Host(made())) as host:
        whole = settled(host, codec, 24)

        @settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.integers(1, 18), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
        def property_(stop: int, before: int, after: int, seed: int) -> None:
            host.misbehave(*DROPS, share=0.2, seed=seed)
            cursors: dict[str, object] = {}
            for rank in range(before):
                one = feed(host, codec)
                read(one, range(stop), share(BATCH, rank, before))
                cursors |= one.cursors()
            cursors = json.loads(json.dumps(cursors))
            for rank in range(after):
                other = feed(host, codec)
                other.seek(cursors)
                lanes = share(BATCH, rank, after)
                for step, rows in enumerate(read(other, range(stop, stop + 5), lanes), stop):
                    for name, array in vars(rows).items():
                        assert np.array_equal(array, getattr(whole[step], name)[lanes.start : lanes.stop])

        property_()


def test_reading_on_from_another_thread(codec: Codec) -> None:
    """Opened here, read there."""
    with serving(Host(parquet())) as host:
        whole = settled(host, codec)
        opened, found = feed(host, codec), []
        thread = threading.Thread(target=lambda: found.extend(read(opened, range(20))))
        thread.start()
        thread.join(60)
        assert same(found, whole)


def test_when_all_tries_fail(codec: Codec, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each time, and in the end one that says what to do; what is read anew starts the tries anew."""
    with serving(Host(lines())) as host:
        one = feed(host, codec)
        whole = read(one, range(3))
        host.misbehave("503")
        with pytest.raises(UserError, match=r"pretrain\.stream: .*broke off.*503.*after 7 tries.*same command goes on"):
            read(one, range(3, 40))
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 6
        assert "try 6 of 6 in 0.01 s" in said[-1]
        with pytest.raises(UserError, match=r"cannot read .*503"):
            feed(host, codec)
        host.faults = iter(())
        assert same(settled(host, codec, 3), whole)


@pytest.mark.parametrize(
    ("fault", "told"),
    [("404", "404.*correct the name"), ("401", "401.*ask for access"), ("403", "403.*ask for"), ("400", "HTTP 400")],
)
def test_what_will_not_pass_is_not_tried_again(fault: str, told: str, codec: Codec) -> None:
    with serving(Host(parquet())) as host:
        host.misbehave(fault)
        with pytest.raises(UserError, match=rf"pretrain\.stream: cannot read .*{told}"):
            feed(host, codec)
        assert len(host.asked) <= FILES
        host.faults = iter(())
        one = feed(host, codec)
        host.misbehave(fault)
        before = len(host.asked)
        with pytest.raises(UserError, match=told):
            read(one, range(40))
        assert len(host.asked) == before + 1


def test_a_file_without_the_column(codec: Codec, capsys: pytest.CaptureFixture[str]) -> None:
    for made, change in ((parquet, b""), (lines, b'"text"')):
        files = made()
        with serving(Host(files)) as host:
            name = [*files][2]
            if change:
                files[name] = files[name].replace(change, b'"content"')
            else:
                file = io.BytesIO()
                pq.write_table(pa.table({"content": ["a"] * 30}), file)
                files[name] = file.getvalue()
            with pytest.raises(UserError, match=r"pretrain\.stream_text: .*no column 'txt'; did you mean text\?"):
                feed(host, codec, "txt")
            with pytest.raises(UserError, match=r"broke off .*text"):
                settled(host, codec, 60)
    assert "try 1" not in capsys.readouterr().err


def test_a_host_without_ranges_is_asked_once_for_each_reading(codec: Codec, capsys: pytest.CaptureFixture[str]) -> None:
    """And each thread that opens the files finds what another has fetched."""
    file = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS * 10}), file, row_group_size=100)
    with serving(Host({"a.parquet": file.getvalue()}, ranges=False)) as host:
        one = StreamFeed.open(host.url("a.parquet"), "text", codec, LENGTH, BATCH, 0)
        thread = threading.Thread(target=read, args=(one, range(40)))
        thread.start()
        thread.join(60)
        assert len(host.asked) == 2, "how long is it, and the file"
    said = capsys.readouterr().out
    assert said.count("sends no parts of files") == 1
    assert f"a copy of {len(file.getvalue()) / 1e6:.1f} MB, one file at a time, goes to {tempfile.gettempdir()}" in said


def test_a_full_temporary_folder_is_named(
    codec: Codec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once: waiting would not make room."""
    with serving(Host(lines(), ranges=False)) as host:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
        with pytest.raises(UserError, match=f"disk full: {tempfile.gettempdir()}, .*TMPDIR"):
            feed(host, codec)
    assert "try 1" not in capsys.readouterr().err


SELF_SIGNED = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=nobody -out"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_a_host_that_cannot_prove_itself(codec: Codec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = tmp_path / "host.pem", tmp_path / "key.pem"
    subprocess.run([*SELF_SIGNED.split(), certificate, "-keyout", key], check=True, capture_output=True)
    with serving(Host(lines())) as host:
        assert host.server is not None
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        host.server.socket = tls.wrap_socket(host.server.socket, server_side=True)
        name = host.url("part-0.jsonl").replace("http:", "https:")
        with pytest.raises(UserError, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE"):
            StreamFeed.open(name, "text", codec, LENGTH, BATCH, 0)
    assert "try 1" not in capsys.readouterr().err


@pytest.mark.parametrize("tagged", [True, False])
def test_files_that_change(tagged: bool, codec: Codec) -> None:
    """While they are read, and between two runs; a host without tags is known by the length alone."""
    files = lines()
    with serving(Host(files, tagged=tagged)) as host:
        one = feed(host, codec)
        read(one, range(4))
        files["part-3.jsonl"] = files["part-3.jsonl"][:-5] + (b'ab"}\n' if tagged else b'abc"}\n')
        with pytest.raises(UserError, match=r"changed while it was read|the host says"):
            read(one, range(4, 60))
        again = feed(host, codec)
        with pytest.raises(UserError, match="changed since this run began; put back what it was"):
            again.seek(json.loads(json.dumps(one.cursors())))
