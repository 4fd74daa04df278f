"""No network for the tests: connections and name look-ups that leave this machine fail and are written down.

Loopback, Unix sockets and the machine's own name stay allowed, because two processes of one training run
talk through them. An attempt raises `NetworkBlocked` (an OSError, as the caller would get from a dead
network) and is appended to the file named by WINDVANE_NETWORK_LOG, so that one swallowed by an `except`
is found all the same.
"""

import ipaddress
import os
import socket

LOG = "WINDVANE_NETWORK_LOG"
_CONNECT, _CONNECT_EX, _SENDTO = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
_GETADDRINFO, _GETHOSTBYNAME = socket.getaddrinfo, socket.gethostbyname
_LOCAL_NAMES = {
    "",
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "0.0.0.0",
    "::",
    socket.gethostname(),
}


class NetworkBlocked(OSError):
    """A test tried to reach another machine."""


def is_local(host):
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.lower() in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(what):
    if path := os.environ.get(LOG):
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{what}\n")
    raise NetworkBlocked(f"the tests run without a network, and something tried to {what}")


def _check_address(sock, address):
    if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
        refuse(f"connect to {address[0]}:{address[1]}")


def _connect(self, address):
    _check_address(self, address)
    return _CONNECT(self, address)


def _connect_ex(self, address):
    _check_address(self, address)
    return _CONNECT_EX(self, address)


def _sendto(self, data, *arguments):
    _check_address(self, arguments[-1])
    return _SENDTO(self, data, *arguments)


def _getaddrinfo(host, *arguments, **options):
    if not is_local(host):
        refuse(f"look up {host}")
    return _GETADDRINFO(host, *arguments, **options)


def _gethostbyname(host):
    if not is_local(host):
        refuse(f"look up {host}")
    return _GETHOSTBYNAME(host)


def block():
    """Close the network for this process. Calling it twice changes nothing."""
    socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto = _connect, _connect_ex, _sendto
    socket.getaddrinfo, socket.gethostbyname = _getaddrinfo, _gethostbyname
