"""Sizes that both ends of an RPC rely on."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message a peer takes: grpc-go's default, so that what we send to a Go peer arrives (R17)."""
