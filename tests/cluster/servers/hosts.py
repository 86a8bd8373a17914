"""Simulate the hosts of a cluster on one machine: a network namespace for each, joined by a bridge.

As on separate machines, a process reaches the other hosts by address and shares no ``localhost`` with them. This works
only inside ``tests/cluster/servers/isolated.sh``, whose network has no way out.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_BRIDGE: Final = "cluster"
_SUBNET: Final = "10.77.0"


class HostError(RuntimeError):
    """The hosts cannot be created here."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the cluster.

    Attributes
    ----------
    address : str
        Its address on the bridge.
    enter : tuple of str
        Prefix of a command line that runs on the host; empty for this process' own host.
    """

    address: str
    enter: tuple[str, ...] = ()


@contextmanager
def hosts(count: int) -> Iterator[tuple[Host, ...]]:
    """Yield this process' own host and `count` more.

    Raises
    ------
    HostError
        This network has an interface other than ``lo``, or the bridge cannot be created.
    """
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise HostError(
            f"expected no network interface but lo; got {', '.join(others)}; "
            "start this with tests/cluster/servers/isolated.sh"
        )
    own = Host(f"{_SUBNET}.1")
    _ip("link", "add", _BRIDGE, "type", "bridge")
    # A network namespace exists for as long as a process is in it.
    keepers: list[subprocess.Popen[bytes]] = []
    try:
        _ip("address", "add", f"{own.address}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        yield own, *(_add_host(number, keepers) for number in range(1, count + 1))
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.wait()
        _ip("link", "delete", _BRIDGE)


def _add_host(number: int, keepers: list[subprocess.Popen[bytes]]) -> Host:
    # The shell prints "in" once it is in its network, then waits until its stdin closes.
    keeper = subprocess.Popen(
        ("unshare", "--net", "sh", "-c", "echo in && cat"),  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    keepers.append(keeper)
    if keeper.stdout is None or keeper.stdout.readline() != b"in\n":
        raise HostError("expected a network namespace for a host; got none; may this user create namespaces?")
    host = Host(f"{_SUBNET}.{10 + number}", ("nsenter", f"--net=/proc/{keeper.pid}/ns/net"))
    outside = f"host{number}"
    _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
    _ip("link", "set", outside, "master", _BRIDGE, "up")
    _ip("link", "set", "lo", "up", on=host.enter)
    _ip("address", "add", f"{host.address}/24", "dev", "eth0", on=host.enter)
    _ip("link", "set", "eth0", "up", on=host.enter)
    return host


def _ip(*arguments: str, on: Sequence[str] = ()) -> None:
    done = subprocess.run((*on, "ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"expected ip {' '.join(arguments)} to succeed; got {done.stderr.strip()}")
