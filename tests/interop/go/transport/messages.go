// Package transport lets hashicorp/raft speak over the RaftTransport gRPC service.
package transport

import (
	"github.com/hashicorp/raft"

	"raftpeer/pb"
)

// hashicorp/raft 1.1 knows no sender beyond the protocol version, so id and addr of the header stay empty.

func encodeHeader(header raft.RPCHeader) *pb.RPCHeader {
	return &pb.RPCHeader{ProtocolVersion: int64(header.ProtocolVersion)}
}

func decodeHeader(header *pb.RPCHeader) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(header.GetProtocolVersion())}
}

func encodeAppendRequest(request *raft.AppendEntriesRequest) *pb.AppendEntriesRequest {
	entries := make([]*pb.Log, len(request.Entries))
	for i, entry := range request.Entries {
		entries[i] = &pb.Log{
			Index:      entry.Index,
			Term:       entry.Term,
			Type:       pb.Log_LogType(entry.Type),
			Data:       entry.Data,
			Extensions: entry.Extensions,
		}
	}
	return &pb.AppendEntriesRequest{
		RpcHeader:         encodeHeader(request.RPCHeader),
		Term:              request.Term,
		Leader:            request.Leader,
		PrevLogEntry:      request.PrevLogEntry,
		PrevLogTerm:       request.PrevLogTerm,
		Entries:           entries,
		LeaderCommitIndex: request.LeaderCommitIndex,
	}
}

func decodeAppendRequest(message *pb.AppendEntriesRequest) *raft.AppendEntriesRequest {
	entries := make([]*raft.Log, len(message.Entries))
	for i, entry := range message.Entries {
		entries[i] = &raft.Log{
			Index:      entry.Index,
			Term:       entry.Term,
			Type:       raft.LogType(entry.Type),
			Data:       entry.Data,
			Extensions: entry.Extensions,
		}
	}
	return &raft.AppendEntriesRequest{
		RPCHeader:         decodeHeader(message.RpcHeader),
		Term:              message.Term,
		Leader:            message.Leader,
		PrevLogEntry:      message.PrevLogEntry,
		PrevLogTerm:       message.PrevLogTerm,
		Entries:           entries,
		LeaderCommitIndex: message.LeaderCommitIndex,
	}
}

func encodeAppendResponse(response *raft.AppendEntriesResponse) *pb.AppendEntriesResponse {
	return &pb.AppendEntriesResponse{
		RpcHeader:      encodeHeader(response.RPCHeader),
		Term:           response.Term,
		LastLog:        response.LastLog,
		Success:        response.Success,
		NoRetryBackoff: response.NoRetryBackoff,
	}
}

func decodeAppendResponse(message *pb.AppendEntriesResponse) raft.AppendEntriesResponse {
	return raft.AppendEntriesResponse{
		RPCHeader:      decodeHeader(message.RpcHeader),
		Term:           message.Term,
		LastLog:        message.LastLog,
		Success:        message.Success,
		NoRetryBackoff: message.NoRetryBackoff,
	}
}

func encodeVoteRequest(request *raft.RequestVoteRequest) *pb.RequestVoteRequest {
	return &pb.RequestVoteRequest{
		RpcHeader:          encodeHeader(request.RPCHeader),
		Term:               request.Term,
		Candidate:          request.Candidate,
		LastLogIndex:       request.LastLogIndex,
		LastLogTerm:        request.LastLogTerm,
		LeadershipTransfer: request.LeadershipTransfer,
	}
}

func decodeVoteRequest(message *pb.RequestVoteRequest) *raft.RequestVoteRequest {
	return &raft.RequestVoteRequest{
		RPCHeader:          decodeHeader(message.RpcHeader),
		Term:               message.Term,
		Candidate:          message.Candidate,
		LastLogIndex:       message.LastLogIndex,
		LastLogTerm:        message.LastLogTerm,
		LeadershipTransfer: message.LeadershipTransfer,
	}
}

func encodeVoteResponse(response *raft.RequestVoteResponse) *pb.RequestVoteResponse {
	return &pb.RequestVoteResponse{
		RpcHeader: encodeHeader(response.RPCHeader),
		Term:      response.Term,
		Peers:     response.Peers,
		Granted:   response.Granted,
	}
}

func decodeVoteResponse(message *pb.RequestVoteResponse) raft.RequestVoteResponse {
	return raft.RequestVoteResponse{
		RPCHeader: decodeHeader(message.RpcHeader),
		Term:      message.Term,
		Peers:     message.Peers,
		Granted:   message.Granted,
	}
}

func encodeSnapshotRequest(request *raft.InstallSnapshotRequest) *pb.InstallSnapshotRequest {
	return &pb.InstallSnapshotRequest{
		RpcHeader:          encodeHeader(request.RPCHeader),
		Term:               request.Term,
		Leader:             request.Leader,
		LastLogIndex:       request.LastLogIndex,
		LastLogTerm:        request.LastLogTerm,
		Peers:              request.Peers,
		Configuration:      request.Configuration,
		ConfigurationIndex: request.ConfigurationIndex,
		Size:               request.Size,
		SnapshotVersion:    int64(request.SnapshotVersion),
	}
}

func decodeSnapshotRequest(message *pb.InstallSnapshotRequest) *raft.InstallSnapshotRequest {
	return &raft.InstallSnapshotRequest{
		RPCHeader:          decodeHeader(message.RpcHeader),
		SnapshotVersion:    raft.SnapshotVersion(message.SnapshotVersion),
		Term:               message.Term,
		Leader:             message.Leader,
		LastLogIndex:       message.LastLogIndex,
		LastLogTerm:        message.LastLogTerm,
		Peers:              message.Peers,
		Configuration:      message.Configuration,
		ConfigurationIndex: message.ConfigurationIndex,
		Size:               message.Size,
	}
}

func encodeSnapshotResponse(response *raft.InstallSnapshotResponse) *pb.InstallSnapshotResponse {
	return &pb.InstallSnapshotResponse{
		RpcHeader: encodeHeader(response.RPCHeader),
		Term:      response.Term,
		Success:   response.Success,
	}
}

func decodeSnapshotResponse(message *pb.InstallSnapshotResponse) raft.InstallSnapshotResponse {
	return raft.InstallSnapshotResponse{
		RPCHeader: decodeHeader(message.RpcHeader),
		Term:      message.Term,
		Success:   message.Success,
	}
}

func encodeTimeoutNowRequest(request *raft.TimeoutNowRequest) *pb.TimeoutNowRequest {
	return &pb.TimeoutNowRequest{RpcHeader: encodeHeader(request.RPCHeader)}
}

func decodeTimeoutNowRequest(message *pb.TimeoutNowRequest) *raft.TimeoutNowRequest {
	return &raft.TimeoutNowRequest{RPCHeader: decodeHeader(message.RpcHeader)}
}

func encodeTimeoutNowResponse(response *raft.TimeoutNowResponse) *pb.TimeoutNowResponse {
	return &pb.TimeoutNowResponse{RpcHeader: encodeHeader(response.RPCHeader)}
}

func decodeTimeoutNowResponse(message *pb.TimeoutNowResponse) raft.TimeoutNowResponse {
	return raft.TimeoutNowResponse{RPCHeader: decodeHeader(message.RpcHeader)}
}
