// Package example is the Example service, which clients talk to.
package example

import (
	"context"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftpeer/pb"
	"raftpeer/state"
)

// Register adds the Example service to a server.
func Register(server *grpc.Server, node *raft.Raft, machine state.Machine) {
	pb.RegisterExampleServer(server, &service{node: node, machine: machine})
}

type service struct {
	pb.UnimplementedExampleServer // of what this project has added
	node                          *raft.Raft
	machine                       state.Machine
}

func (s *service) AddWord(_ context.Context, request *pb.AddWordRequest) (*pb.AddWordResponse, error) {
	future := s.node.Apply([]byte(request.Word), 0)
	if err := future.Error(); err != nil {
		return nil, status.Error(code(err), err.Error())
	}
	return &pb.AddWordResponse{CommitIndex: future.Index()}, nil
}

func (s *service) GetWords(context.Context, *pb.GetWordsRequest) (*pb.GetWordsResponse, error) {
	return &pb.GetWordsResponse{ReadAtIndex: s.node.AppliedIndex(), BestWords: s.machine.Words()}, nil
}

// code tells clients whether to try again: at another node, or later, it may go well.
func code(err error) codes.Code {
	switch err {
	case raft.ErrNotLeader, raft.ErrLeadershipLost, raft.ErrRaftShutdown, raft.ErrLeadershipTransferInProgress:
		return codes.Unavailable
	case raft.ErrAbortedByRestore:
		return codes.Aborted
	default:
		return codes.Unknown
	}
}
