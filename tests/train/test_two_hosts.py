"""Two hosts train together over a real network: two network namespaces of this machine, joined by a cable."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import LAUNCH, ROOT, TINY, environment, losses
from tests.train.test_deaths import ENDLESS, LONG, WITHIN, workers
from tests.train.test_engines import worst
from tests.train.test_resume import wait_for_step

Runs = Callable[..., Path]
FOLDER = ROOT / "configs" / "accelerate"


@dataclass(frozen=True)
class Host:
    """A network namespace with one end of the cable."""

    number: int
    space: str
    cable: str

    @property
    def address(self) -> str:
        return f"10.213.7.{self.number + 1}"

    def start(self, config: str, workspace: Path, *fields: str, more: list[str] | None = None) -> subprocess.Popen[str]:
        """This host's launcher, as a person would type it there."""
        words = ["ip", "netns", "exec", self.space, *LAUNCH, "--config_file", str(FOLDER / f"{config}.yaml")]
        words += ["--main_process_ip", "10.213.7.1", "--machine_rank", str(self.number), *(more or [])]
        if "static" not in config:  # these hosts share one name, so host 0 does not know itself by its address
            words += ["--rdzv_conf", f"is_host={1 - self.number},read_timeout=60"]
        env = environment(GLOO_SOCKET_IFNAME=self.cable, PET_LOCAL_ADDR=self.address)
        return subprocess.Popen(
            [*words, "train.py", "train", TINY, f"workspace={workspace}", *fields], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    if shutil.which("ip") is None:
        pytest.skip("two hosts: `ip` is missing (iproute2)")
    both = tuple(Host(n, f"yaya{os.getpid()}h{n}", f"yc{os.getpid() % 100000}n{n}") for n in (0, 1))
    try:
        for host in both:
            ip("netns", "add", host.space)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"two hosts: `ip netns add` is not allowed here ({error.stderr.decode().strip()})")
    try:
        ip("link", "add", both[0].cable, "netns", both[0].space, "type", "veth",
           "peer", "name", both[1].cable, "netns", both[1].space)  # fmt: skip
        for host in both:
            ip("-n", host.space, "addr", "add", f"{host.address}/24", "dev", host.cable)
            for link in ("lo", host.cable):
                ip("-n", host.space, "link", "set", link, "up")
        yield both[0], both[1]
    finally:
        for host in both:
            left = subprocess.run(["ip", "netns", "pids", host.space], capture_output=True, text=True, check=False)
            for pid in left.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", host.space)


def together(one: subprocess.Popen[str], other: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
    """What both say to their end."""
    until = time.monotonic() + timeout
    return tuple(p.communicate(timeout=max(1, until - time.monotonic()))[0] for p in (one, other))  # type: ignore


@pytest.mark.parametrize(
    "config",
    ["nodes_static", pytest.param("nodes_c10d", marks=pytest.mark.slow),
     pytest.param("nodes_zero2", marks=pytest.mark.slow)],
)  # fmt: skip
def test_two_hosts_learn_as_one_process_does(runs: Runs, workspace: Path, hosts: tuple[Host, Host], config: str):
    launchers = [host.start(config, workspace) for host in hosts]
    said = together(*launchers, timeout=120)
    assert [p.returncode for p in launchers] == [0, 0], said
    assert worst(losses(workspace), losses(runs("single"))) < 1e-4


@pytest.mark.slow
def test_hosts_that_share_no_disk_are_told(workspace: Path, hosts: tuple[Host, Host], tmp_path: Path) -> None:
    elsewhere = shutil.copytree(workspace, tmp_path / "another-disk")
    launchers = [host.start("nodes_static", w) for host, w in zip(hosts, (workspace, elsewhere), strict=True)]
    _, there = together(*launchers, timeout=90)
    assert [p.returncode for p in launchers] == [1, 1]
    assert f"error: {elsewhere} on" in there
    assert "is not the folder that rank 0 writes" in there


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_killed_on_one_host_ends_both(workspace: Path, hosts: tuple[Host, Host], victim: int) -> None:
    launchers = [host.start("nodes_static", workspace, *ENDLESS) for host in hosts]
    wait_for_step(workspace, 5, launchers[0])
    os.kill(workers(launchers[victim])[victim], signal.SIGKILL)
    began = time.monotonic()
    said = together(*launchers, timeout=60)
    took = time.monotonic() - began
    print(f"all ended within {took:.1f} s")
    assert took < WITHIN
    assert f"error: rank {victim} on" in said[1 - victim]


@pytest.mark.slow
def test_a_cable_that_is_pulled_ends_both(workspace: Path, hosts: tuple[Host, Host]) -> None:
    """No socket closes: the kernel's own questions find out, long before a collective's half hour."""
    launchers = [host.start("nodes_static", workspace, *ENDLESS) for host in hosts]
    wait_for_step(workspace, 5, launchers[0])
    ip("-n", hosts[1].space, "link", "set", hosts[1].cable, "down")
    began = time.monotonic()
    said = together(*launchers, timeout=60)
    took = time.monotonic() - began
    print(f"all ended within {took:.1f} s")
    assert took < WITHIN
    assert "rank 1 on" in said[0]
    assert "no longer answers" in said[0]
    assert "rank 0 on" in said[1]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["nodes_static", "nodes_c10d"])
def test_two_hosts_go_on_by_themselves(runs: Runs, workspace: Path, hosts: tuple[Host, Host], config: str) -> None:
    steps = f"pretrain.max_steps={LONG}"
    launchers = [host.start(config, workspace, steps, more=["--max_restarts", "2"]) for host in hosts]
    wait_for_step(workspace, 8, launchers[0])
    victim = next(p for p in launchers if 1 in workers(p))
    os.kill(workers(victim)[1], signal.SIGKILL)
    said = together(*launchers, timeout=120)
    assert [p.returncode for p in launchers] == [0, 0], said
    assert len(losses(workspace)) == LONG
    assert worst(losses(workspace)[:40], losses(runs("single", steps=LONG))[:40]) < 1e-4
