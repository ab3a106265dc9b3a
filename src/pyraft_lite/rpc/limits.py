"""Sizes that both ends of an RPC rely on."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message a peer takes: grpc-go's default, so that what we send to a Go peer arrives (R17)."""

MAX_COMMAND_BYTES = MAX_MESSAGE_BYTES - 16 * 1024 - 64
"""The largest command that a node takes: the core's limit of a message between nodes, less what an entry costs. (Here
for clients, which have no use for the core.)"""
