package transport

import (
	"context"
	"io"
	"log"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftpeer/pb"
)

// Register adds the RaftTransport service to a server.
func (t *Transport) Register(server *grpc.Server) {
	pb.RegisterRaftTransportServer(server, &service{transport: t})
}

// service hands what peers send to Raft. hashicorp/raft 1.1 has no pre-vote: RequestPreVote stays unimplemented.
type service struct {
	pb.UnimplementedRaftTransportServer
	transport *Transport
}

func (s *service) AppendEntries(ctx context.Context, message *pb.AppendEntriesRequest) (*pb.AppendEntriesResponse, error) {
	request := decodeAppendRequest(message)
	rpc, answer := newRPC(request, nil)
	if isHeartbeat(request) {
		s.transport.mutex.Lock()
		handler := s.transport.heartbeat
		s.transport.mutex.Unlock()
		if handler != nil {
			// Past the queue, so that a heartbeat never waits for the disk.
			handler(rpc)
			response, err := await(ctx, answer)
			if err != nil {
				return nil, err
			}
			return encodeAppendResponse(response.(*raft.AppendEntriesResponse)), nil
		}
	}
	return s.append(ctx, rpc, answer)
}

func (s *service) AppendEntriesPipeline(stream pb.RaftTransport_AppendEntriesPipelineServer) error {
	// A leader that does not pipeline would go unnoticed otherwise.
	log.Print("append stream begins")
	defer log.Print("append stream ends")
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		rpc, answer := newRPC(decodeAppendRequest(message), nil)
		response, err := s.append(stream.Context(), rpc, answer)
		if err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (s *service) append(ctx context.Context, rpc raft.RPC, answer <-chan raft.RPCResponse) (*pb.AppendEntriesResponse, error) {
	response, err := s.ask(ctx, rpc, answer)
	if err != nil {
		return nil, err
	}
	return encodeAppendResponse(response.(*raft.AppendEntriesResponse)), nil
}

func (s *service) RequestVote(ctx context.Context, message *pb.RequestVoteRequest) (*pb.RequestVoteResponse, error) {
	rpc, answer := newRPC(decodeVoteRequest(message), nil)
	response, err := s.ask(ctx, rpc, answer)
	if err != nil {
		return nil, err
	}
	return encodeVoteResponse(response.(*raft.RequestVoteResponse)), nil
}

func (s *service) TimeoutNow(ctx context.Context, message *pb.TimeoutNowRequest) (*pb.TimeoutNowResponse, error) {
	rpc, answer := newRPC(decodeTimeoutNowRequest(message), nil)
	response, err := s.ask(ctx, rpc, answer)
	if err != nil {
		return nil, err
	}
	return encodeTimeoutNowResponse(response.(*raft.TimeoutNowResponse)), nil
}

func (s *service) InstallSnapshot(stream pb.RaftTransport_InstallSnapshotServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	rpc, answer := newRPC(decodeSnapshotRequest(first), &snapshotReader{stream: stream, rest: first.Data})
	response, err := s.ask(stream.Context(), rpc, answer)
	if err != nil {
		return err
	}
	return stream.SendAndClose(encodeSnapshotResponse(response.(*raft.InstallSnapshotResponse)))
}

// snapshotReader reads the data of a snapshot's messages.
type snapshotReader struct {
	stream pb.RaftTransport_InstallSnapshotServer
	rest   []byte
}

func (r *snapshotReader) Read(buffer []byte) (int, error) {
	for len(r.rest) == 0 {
		message, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = message.Data
	}
	size := copy(buffer, r.rest)
	r.rest = r.rest[size:]
	return size, nil
}

func isHeartbeat(request *raft.AppendEntriesRequest) bool {
	return request.Term != 0 && request.Leader != nil && request.PrevLogEntry == 0 && request.PrevLogTerm == 0 &&
		len(request.Entries) == 0 && request.LeaderCommitIndex == 0
}

func newRPC(command interface{}, data io.Reader) (raft.RPC, <-chan raft.RPCResponse) {
	answer := make(chan raft.RPCResponse, 1)
	return raft.RPC{Command: command, Reader: data, RespChan: answer}, answer
}

// ask hands an RPC to Raft and waits for the answer, or until the caller gives up.
func (s *service) ask(ctx context.Context, rpc raft.RPC, answer <-chan raft.RPCResponse) (interface{}, error) {
	select {
	case s.transport.incoming <- rpc:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return await(ctx, answer)
}

func await(ctx context.Context, answer <-chan raft.RPCResponse) (interface{}, error) {
	select {
	case response := <-answer:
		if response.Error != nil {
			return nil, status.Error(codes.Unknown, response.Error.Error())
		}
		return response.Response, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}
