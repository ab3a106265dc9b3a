package admin

import (
	"context"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftpeer/pb"
)

// Register adds the RaftAdmin service to a server.
func Register(server *grpc.Server, node *raft.Raft) {
	pb.RegisterRaftAdminServer(server, &service{node: node, operations: operations{byToken: make(map[string]*operation)}})
}

type service struct {
	node       *raft.Raft
	operations operations
}

func (s *service) begin(future raft.Future) (*pb.Future, error) {
	token, err := s.operations.begin(future)
	if err != nil {
		return nil, err
	}
	return &pb.Future{OperationToken: token}, nil
}

// Operations. They wait as long as it takes: a timeout of 0 means none.

func (s *service) AddVoter(_ context.Context, r *pb.AddVoterRequest) (*pb.Future, error) {
	return s.begin(s.node.AddVoter(raft.ServerID(r.Id), raft.ServerAddress(r.Address), r.PreviousIndex, 0))
}

func (s *service) AddNonvoter(_ context.Context, r *pb.AddNonvoterRequest) (*pb.Future, error) {
	return s.begin(s.node.AddNonvoter(raft.ServerID(r.Id), raft.ServerAddress(r.Address), r.PreviousIndex, 0))
}

func (s *service) DemoteVoter(_ context.Context, r *pb.DemoteVoterRequest) (*pb.Future, error) {
	return s.begin(s.node.DemoteVoter(raft.ServerID(r.Id), r.PreviousIndex, 0))
}

func (s *service) RemoveServer(_ context.Context, r *pb.RemoveServerRequest) (*pb.Future, error) {
	return s.begin(s.node.RemoveServer(raft.ServerID(r.Id), r.PreviousIndex, 0))
}

func (s *service) ApplyLog(_ context.Context, r *pb.ApplyLogRequest) (*pb.Future, error) {
	return s.begin(s.node.ApplyLog(raft.Log{Data: r.Data, Extensions: r.Extensions}, 0))
}

func (s *service) Barrier(context.Context, *pb.BarrierRequest) (*pb.Future, error) {
	return s.begin(s.node.Barrier(0))
}

func (s *service) LeadershipTransfer(context.Context, *pb.LeadershipTransferRequest) (*pb.Future, error) {
	return s.begin(s.node.LeadershipTransfer())
}

func (s *service) LeadershipTransferToServer(_ context.Context, r *pb.LeadershipTransferToServerRequest) (*pb.Future, error) {
	return s.begin(s.node.LeadershipTransferToServer(raft.ServerID(r.Id), raft.ServerAddress(r.Address)))
}

func (s *service) Shutdown(context.Context, *pb.ShutdownRequest) (*pb.Future, error) {
	return s.begin(s.node.Shutdown())
}

func (s *service) Snapshot(context.Context, *pb.SnapshotRequest) (*pb.Future, error) {
	return s.begin(s.node.Snapshot())
}

func (s *service) VerifyLeader(context.Context, *pb.VerifyLeaderRequest) (*pb.Future, error) {
	return s.begin(s.node.VerifyLeader())
}

// Outcomes.

func (s *service) Await(ctx context.Context, r *pb.Future) (*pb.AwaitResponse, error) {
	operation, ok := s.operations.find(r.OperationToken)
	if !ok {
		return nil, status.Errorf(codes.Unknown, "token %q unknown", r.OperationToken)
	}
	select {
	case <-operation.done:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if operation.err != nil {
		return &pb.AwaitResponse{Error: operation.err.Error()}, nil
	}
	return &pb.AwaitResponse{Index: operation.index}, nil
}

func (s *service) Forget(_ context.Context, r *pb.Future) (*pb.ForgetResponse, error) {
	s.operations.forget(r.OperationToken)
	return &pb.ForgetResponse{}, nil
}

// Questions.

func (s *service) AppliedIndex(context.Context, *pb.AppliedIndexRequest) (*pb.AppliedIndexResponse, error) {
	return &pb.AppliedIndexResponse{Index: s.node.AppliedIndex()}, nil
}

func (s *service) LastIndex(context.Context, *pb.LastIndexRequest) (*pb.LastIndexResponse, error) {
	return &pb.LastIndexResponse{Index: s.node.LastIndex()}, nil
}

func (s *service) LastContact(context.Context, *pb.LastContactRequest) (*pb.LastContactResponse, error) {
	contact := s.node.LastContact()
	if contact.IsZero() {
		return &pb.LastContactResponse{}, nil
	}
	return &pb.LastContactResponse{UnixNano: contact.UnixNano()}, nil
}

func (s *service) Leader(context.Context, *pb.LeaderRequest) (*pb.LeaderResponse, error) {
	return &pb.LeaderResponse{Address: string(s.node.Leader())}, nil
}

func (s *service) State(context.Context, *pb.StateRequest) (*pb.StateResponse, error) {
	// Raft and the message number the states alike.
	return &pb.StateResponse{State: pb.StateResponse_State(s.node.State())}, nil
}

func (s *service) Stats(context.Context, *pb.StatsRequest) (*pb.StatsResponse, error) {
	return &pb.StatsResponse{Stats: s.node.Stats()}, nil
}

func (s *service) GetConfiguration(context.Context, *pb.GetConfigurationRequest) (*pb.GetConfigurationResponse, error) {
	future := s.node.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	response := &pb.GetConfigurationResponse{}
	for _, server := range future.Configuration().Servers {
		response.Servers = append(response.Servers, &pb.GetConfigurationResponse_Server{
			Suffrage: pb.GetConfigurationResponse_Server_Suffrage(server.Suffrage),
			Id:       string(server.ID),
			Address:  string(server.Address),
		})
	}
	return response, nil
}
