"""Raft over gRPC: the transport between nodes, and what a node serves to others on its port."""
