"""Taking addresses apart, and telling which are this machine's own."""

import ipaddress
from urllib.parse import urlsplit


def hostname(url: str) -> str:
    """The host, without port, or "" for what is no address: a stranger may send anything."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """`host` is a name or an address, without port or brackets."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
