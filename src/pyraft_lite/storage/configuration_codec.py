"""Configurations as hashicorp/raft encodes them in log entries and snapshots: msgpack of Go's field names.

A module that is a :class:`~pyraft_lite.core.configuration.ConfigurationCodec`.
"""

import msgpack

from pyraft_lite.core.configuration import Configuration, Server, Suffrage


def encode(configuration: Configuration, /) -> bytes:
    """A map with key ``Servers``; each server a map with sorted keys and strings of the old raw type, as Go's codec
    writes."""
    servers = [{"Address": s.address, "ID": s.id, "Suffrage": int(s.suffrage)} for s in configuration]
    return bytes(msgpack.packb({"Servers": servers}, use_bin_type=False))


def decode(data: bytes, /) -> Configuration:
    """Reads what :func:`encode` or Go wrote; takes newer string types, nil for what is empty, and unknown keys as well.

    Raises:
        ValueError: ``data`` is not an encoded configuration.
    """
    document = _unpack(data)
    if not isinstance(document, dict) or "Servers" not in document:
        raise ValueError("not a map with the key Servers")
    servers = document["Servers"]
    if servers is None:
        servers = []
    if not isinstance(servers, list):
        raise ValueError(f"Servers is {servers!r}, should be a list")
    return Configuration(tuple(_server(item) for item in servers))


def encode_peers(configuration: Configuration) -> bytes:
    """The voters' addresses as a msgpack array: how protocol versions before 2 said who is in the cluster."""
    return bytes(msgpack.packb([voter.address for voter in configuration.voters], use_bin_type=False))


def decode_peers(data: bytes) -> tuple[str, ...]:
    """Reads what :func:`encode_peers` or Go wrote.

    Raises:
        ValueError: ``data`` is not an array of addresses.
    """
    addresses = _unpack(data)
    if not isinstance(addresses, list):
        raise ValueError("not a list of addresses")
    return tuple(_text(address, "address") for address in addresses)


def _server(item: object) -> Server:
    if not isinstance(item, dict):
        raise ValueError(f"a server is {item!r}, should be a map")
    number = item.get("Suffrage")
    try:
        suffrage = Suffrage.VOTER if number is None else Suffrage(number)
    except ValueError as error:
        raise ValueError(f"Suffrage is {number!r}, should be 0, 1 or 2") from error
    return Server(_text(item.get("ID"), "ID"), _text(item.get("Address"), "Address"), suffrage)


def _unpack(data: bytes) -> object:
    try:
        # Old raw strings are bytes to msgpack's reader; that reads both kinds alike.
        return _decoded_keys(msgpack.unpackb(data, raw=True, strict_map_key=False))
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not msgpack: {str(error) or type(error).__name__}") from error


def _decoded_keys(value: object) -> object:
    if isinstance(value, dict):
        return {
            key.decode(errors="replace") if isinstance(key, bytes) else key: _decoded_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_decoded_keys(item) for item in value]
    return value


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{what} is {value!r}, should be UTF-8") from error
    raise ValueError(f"{what} is {value!r}, should be a string")
