"""Addresses of the form ``host:port``, as servers have them."""


def split_address(address: str) -> tuple[str, int]:
    """The host and port of an address; an IPv6 host stands in brackets (``[::1]:50051``), and loses them here.

    An empty host (``:50051``) stands for every interface.

    Raises:
        ValueError: the address is not of that form.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f"invalid address {address!r}: want host:port, such as localhost:50051 or [::1]:50051")
    return (host[1:-1] if bracketed else host), int(port)
