"""A word tracker replicated by Raft and served over gRPC: the example application of pyraft_lite."""
