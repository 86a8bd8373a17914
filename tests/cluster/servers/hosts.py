"""Hosts of a cluster on one machine: each has a network of its own, and a bridge joins them.

What runs on one finds the others by address and shares no ``localhost`` with them, as on separate machines. Works only
inside ``tests/cluster/servers/isolated.sh``, whose network has no other way out than these.
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
    """There cannot be hosts here."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the cluster.

    Attributes
    ----------
    address : str
        Its address on the bridge.
    enter : tuple of str
        What a command line begins with that is to run there.
    """

    address: str
    enter: tuple[str, ...] = ()


@contextmanager
def hosts(count: int) -> Iterator[tuple[Host, ...]]:
    """Give this process' own host and `count` more.

    Raises
    ------
    HostError
        This network has other addresses than ``lo``, or the bridge cannot be made.
    """
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise HostError(
            f"expected no network but lo; got {', '.join(others)}: run by tests/cluster/servers/isolated.sh"
        )
    own = Host(f"{_SUBNET}.1")
    _ip("link", "add", _BRIDGE, "type", "bridge")
    # Each further network lives for as long as some process is in it.
    keepers: list[subprocess.Popen[bytes]] = []
    try:
        _ip("address", "add", f"{own.address}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        yield own, *(_join(number, keepers) for number in range(1, count + 1))
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.wait()
        _ip("link", "delete", _BRIDGE)


def _join(number: int, keepers: list[subprocess.Popen[bytes]]) -> Host:
    # It says a word when it is in its network, then waits for as long as its stdin is open.
    keeper = subprocess.Popen(
        ("unshare", "--net", "sh", "-c", "echo in && cat"),  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    keepers.append(keeper)
    if keeper.stdout is None or keeper.stdout.readline() != b"in\n":
        raise HostError("expected a network of its own for a host; got none: are networks allowed to be made here?")
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
        raise HostError(f"expected ip {' '.join(arguments)} to do its work; got {done.stderr.strip()}")
