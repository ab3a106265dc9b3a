package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftpeer/pb"
)

// inFlight is how many requests of a pipeline may wait for their answers.
const inFlight = 128

var errPipelineClosed = errors.New("append pipeline closed")

// pipeline is a raft.AppendPipeline over one stream. The peer answers in the order of the requests.
type pipeline struct {
	stream   pb.RaftTransport_AppendEntriesPipelineClient
	cancel   context.CancelFunc
	closed   <-chan struct{}
	waiting  chan *appendFuture
	answered chan raft.AppendFuture
	sending  sync.Mutex
}

func newPipeline(client pb.RaftTransportClient) (*pipeline, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := client.AppendEntriesPipeline(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	p := &pipeline{
		stream:   stream,
		cancel:   cancel,
		closed:   ctx.Done(),
		waiting:  make(chan *appendFuture, inFlight),
		answered: make(chan raft.AppendFuture, inFlight),
	}
	go p.receive()
	return p, nil
}

func (p *pipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	future := &appendFuture{start: time.Now(), request: request, response: response, done: make(chan struct{})}
	// One at a time, so that the answers are waited for in the order of the requests.
	p.sending.Lock()
	defer p.sending.Unlock()
	select {
	case p.waiting <- future:
	case <-p.closed:
		return nil, errPipelineClosed
	}
	if err := p.stream.Send(encodeAppendRequest(request)); err != nil {
		p.cancel()
		return nil, err
	}
	return future, nil
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answered }

func (p *pipeline) Close() error {
	p.cancel()
	return nil
}

// receive matches answers to requests until the pipeline is closed; a stream that breaks closes it.
func (p *pipeline) receive() {
	for {
		select {
		case <-p.closed:
			return
		case future := <-p.waiting:
			message, err := p.stream.Recv()
			if err == nil {
				*future.response = decodeAppendResponse(message)
			}
			future.err = err
			close(future.done)
			select {
			case p.answered <- future:
			case <-p.closed:
			}
			if err != nil {
				p.cancel()
			}
		}
	}
}

// appendFuture is the outcome of one request of a pipeline.
type appendFuture struct {
	start    time.Time
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	err      error
	done     chan struct{}
}

func (f *appendFuture) Error() error {
	<-f.done
	return f.err
}

func (f *appendFuture) Start() time.Time { return f.start }

func (f *appendFuture) Request() *raft.AppendEntriesRequest { return f.request }

func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.response }
