"""Which addresses are this machine's own."""

import ipaddress


def is_loopback(host: str) -> bool:
    """`host` is a name or an address, without port or brackets."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
