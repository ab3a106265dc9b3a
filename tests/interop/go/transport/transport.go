package transport

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"raftpeer/pb"
)

// How long a peer may take to answer.
const (
	controlDeadline = time.Second     // heartbeats, votes, TimeoutNow
	appendDeadline  = 5 * time.Second // entries
	restoreDeadline = time.Minute     // a snapshot, with its restore
)

// snapshotChunk is how many bytes of a snapshot one message holds.
const snapshotChunk = 16 * 1024

// Transport is a raft.Transport. What it sends goes over one connection for each peer; what peers send comes in
// through the RaftTransport service of Service.
type Transport struct {
	local    raft.ServerAddress
	incoming chan raft.RPC

	mutex       sync.Mutex
	heartbeat   func(raft.RPC)
	connections map[raft.ServerAddress]*grpc.ClientConn
}

var _ raft.Transport = (*Transport)(nil)

// New makes the transport of the node that peers reach at local.
func New(local raft.ServerAddress) *Transport {
	return &Transport{
		local:       local,
		incoming:    make(chan raft.RPC),
		connections: make(map[raft.ServerAddress]*grpc.ClientConn),
	}
}

func (t *Transport) Consumer() <-chan raft.RPC { return t.incoming }

func (t *Transport) LocalAddr() raft.ServerAddress { return t.local }

func (t *Transport) EncodePeer(_ raft.ServerID, address raft.ServerAddress) []byte {
	return []byte(address)
}

func (t *Transport) DecodePeer(peer []byte) raft.ServerAddress { return raft.ServerAddress(peer) }

func (t *Transport) SetHeartbeatHandler(handler func(raft.RPC)) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.heartbeat = handler
}

func (t *Transport) AppendEntriesPipeline(_ raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	client, err := t.client(target)
	if err != nil {
		return nil, err
	}
	return newPipeline(client)
}

func (t *Transport) AppendEntries(_ raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	deadline := appendDeadline
	if len(request.Entries) == 0 {
		deadline = controlDeadline
	}
	return t.call(target, deadline, func(ctx context.Context, client pb.RaftTransportClient) error {
		message, err := client.AppendEntries(ctx, encodeAppendRequest(request))
		if err == nil {
			*response = decodeAppendResponse(message)
		}
		return err
	})
}

func (t *Transport) RequestVote(_ raft.ServerID, target raft.ServerAddress, request *raft.RequestVoteRequest, response *raft.RequestVoteResponse) error {
	return t.call(target, controlDeadline, func(ctx context.Context, client pb.RaftTransportClient) error {
		message, err := client.RequestVote(ctx, encodeVoteRequest(request))
		if err == nil {
			*response = decodeVoteResponse(message)
		}
		return err
	})
}

func (t *Transport) TimeoutNow(_ raft.ServerID, target raft.ServerAddress, request *raft.TimeoutNowRequest, response *raft.TimeoutNowResponse) error {
	return t.call(target, controlDeadline, func(ctx context.Context, client pb.RaftTransportClient) error {
		message, err := client.TimeoutNow(ctx, encodeTimeoutNowRequest(request))
		if err == nil {
			*response = decodeTimeoutNowResponse(message)
		}
		return err
	})
}

func (t *Transport) InstallSnapshot(_ raft.ServerID, target raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.call(target, restoreDeadline, func(ctx context.Context, client pb.RaftTransportClient) error {
		stream, err := client.InstallSnapshot(ctx)
		if err != nil {
			return err
		}
		if err := sendSnapshot(stream, request, data); err != nil {
			return err
		}
		message, err := stream.CloseAndRecv()
		if err == nil {
			*response = decodeSnapshotResponse(message)
		}
		return err
	})
}

// sendSnapshot sends what the snapshot is, then its data. That the peer has answered early is no error: its answer
// says why.
func sendSnapshot(stream pb.RaftTransport_InstallSnapshotClient, request *raft.InstallSnapshotRequest, data io.Reader) error {
	if err := stream.Send(encodeSnapshotRequest(request)); err != nil {
		return ignoreEOF(err)
	}
	buffer := make([]byte, snapshotChunk)
	for {
		size, err := data.Read(buffer)
		if size > 0 {
			if err := stream.Send(&pb.InstallSnapshotRequest{Data: buffer[:size]}); err != nil {
				return ignoreEOF(err)
			}
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// call makes one RPC to a peer within a deadline.
func (t *Transport) call(target raft.ServerAddress, deadline time.Duration, rpc func(context.Context, pb.RaftTransportClient) error) error {
	client, err := t.client(target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return rpc(ctx, client)
}

// client returns the stub for a peer, on a connection that is made once and comes back by itself.
func (t *Transport) client(target raft.ServerAddress) (pb.RaftTransportClient, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	connection, ok := t.connections[target]
	if !ok {
		// A peer that is started again is found within half a second.
		retry := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
		var err error
		connection, err = grpc.Dial(string(target), grpc.WithInsecure(), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           retry,
			MinConnectTimeout: time.Second,
		}))
		if err != nil {
			return nil, err
		}
		t.connections[target] = connection
	}
	return pb.NewRaftTransportClient(connection), nil
}
