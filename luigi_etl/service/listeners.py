"""The users that listen at a port of this machine, from the kernel's list (Linux)."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
IS_LISTED = sys.platform == "linux"  # elsewhere owners are unknown
_LISTEN_STATE = "0A"
_IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"


class Listener(NamedTuple):
    """A listening socket: its address (4 or 16 bytes) and its user."""

    address: bytes
    uid: int

    @property
    def is_open_to_all(self) -> bool:
        """Whether it listens at all interfaces."""
        return not any(self.address)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.address[:1] == b"\x7f" if len(self.address) == 4 else self.address == bytes(15) + b"\1"

    def __str__(self) -> str:
        return socket.inet_ntop(socket.AF_INET if len(self.address) == 4 else socket.AF_INET6, self.address)


def find_listeners(port: int) -> Iterator[Listener]:
    """Yield the listening sockets of a port.

    Raises:
        OSError: the kernel's list can't be read.

    """
    for table in TABLES:
        if table is not TABLES[0] and not table.exists():  # IPv6 is switched off
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            address, _, own_port = fields[1].partition(":")
            if fields[3] == _LISTEN_STATE and int(own_port, 16) == port:
                yield Listener(_unmap(_unpack(address)), int(fields[7]))


def find_local_addresses(host: str, port: int) -> set[bytes]:
    """Return the addresses of a host that belong to this machine.

    Raises:
        OSError: the host has no address.

    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {
        _unmap(socket.inet_pton(family, str(address[0]).partition("%")[0]))
        for family, _, _, _, address in found
        if _is_local(family, address)
    }


def find_foreign_listener(host: str, port: int) -> Listener | None:
    """Return a listener that a connection may reach and that neither this user nor root owns.

    Raises:
        OSError: the host has no address, or the kernel's list can't be read.

    """
    trusted = {os.geteuid(), 0}
    addresses = find_local_addresses(host, port) if IS_LISTED else set()
    if not addresses:  # another machine
        return None
    reached = (found for found in find_listeners(port) if found.is_open_to_all or found.address in addresses)
    return next((found for found in reached if found.uid not in trusted), None)


def _is_local(family: int, address: tuple[object, ...]) -> bool:
    """Return whether an address belongs to this machine: only then can it be bound."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True


def _unpack(text: str) -> bytes:
    """Return the bytes of an address, which the kernel writes as words in native byte order."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    return b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)


def _unmap(address: bytes) -> bytes:
    """Return the IPv4 address of an IPv4-mapped IPv6 address; others are unchanged."""
    return address.removeprefix(_IPV4_IN_IPV6) if len(address) == 16 else address
