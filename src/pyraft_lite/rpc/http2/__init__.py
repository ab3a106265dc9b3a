"""HTTP/2 (RFC 9113), either end of it, as far as gRPC needs it; nothing here knows gRPC.

``frames`` is how things look on the wire, ``headers`` packs and unpacks header blocks, ``connection`` does all of the
protocol that both ends share without any I/O, ``server`` and ``client`` what is theirs, ``protocol`` puts a connection
on an asyncio transport.
"""
