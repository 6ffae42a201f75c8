"""Connections to public addresses only: what a query names must not reach into the user's own network.

A link that somebody else wrote may name a router, a printer or a cloud machine's metadata; so may a name
that resolves there, or a redirect. What counts is the address that is connected to: a name is resolved once,
every address it has is checked, and the connection is made to one of those.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# The only IPv6 addresses that are routed (IANA), and those that carry an IPv4 one to a gateway (RFC 6052).
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(Exception):
    """A host is, at least by one of its addresses, not of the public internet."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host}, which is {address}" if host != address else host)


def is_public(address: str) -> bool:
    """Whether an address, written with digits, is one of the public internet.

    IPv6 addresses that stand for an IPv4 one (mapped, 6to4, NAT64) are what that is.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        carried = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            carried = IPv4Address(int(found) & 0xFFFF_FFFF)
        if carried is None:
            return found in _UNICAST and found.is_global
        found = carried
    return found.is_global and not found.is_multicast


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to a host that is public by all its addresses.

    Raises:
        PrivateAddressError: It is not.
        OSError: It is unknown, or does not answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        if not is_public(str(place[0])):
            raise PrivateAddressError(host, str(place[0]))
    failed = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(place)
        except OSError as error:
            connection.close()
            failed = error
        else:
            return connection
    raise failed


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.timeout)


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        # The certificate is checked against the name, whichever address was chosen.
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(
            connect(self.host, self.port, self.timeout), server_hostname=self.host
        )


class Request(urllib.request.Request):
    """A request that knows whether a proxy takes it: then the proxy looks up the name, and decides."""

    proxied = False

    def set_proxy(self, host: str, type: str) -> None:  # noqa: A002 - urllib's own name
        """Called by `urllib.request.ProxyHandler`."""
        super().set_proxy(host, type)
        self.proxied = True


class PublicHTTPHandler(urllib.request.HTTPHandler):
    """`http:` to public hosts, or through a proxy."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Called by `urllib.request.OpenerDirector`."""
        return super().http_open(req) if _is_proxied(req) else self.do_open(_HTTPConnection, req)


class PublicHTTPSHandler(urllib.request.HTTPSHandler):
    """`https:` to public hosts, or through a proxy."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Called by `urllib.request.OpenerDirector`."""
        return super().https_open(req) if _is_proxied(req) else self.do_open(_HTTPSConnection, req)


def _is_proxied(request: urllib.request.Request) -> bool:
    return isinstance(request, Request) and request.proxied
