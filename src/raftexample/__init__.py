"""A word tracker replicated by Raft and served over gRPC: the example application of pyraft_lite."""

import os

# Otherwise grpc tells on stderr of every connection that a server ends. It looks when it is imported; a program that is
# run as a module of this package, or installed, comes through here before that.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
