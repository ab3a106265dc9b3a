package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	callTimeout = 5 * time.Second
	// pause is how long a caller waits before it calls the next server after a failure.
	pause = 2 * time.Millisecond
)

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

// servers are connections to all, so many to each, and which server is called.
type servers struct {
	connections [][]*grpc.ClientConn
	current     int32
}

func connect(targets []string, connections int) (*servers, error) {
	s := &servers{}
	params := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 50 * time.Millisecond},
		MinConnectTimeout: time.Second,
	}
	for _, target := range targets {
		var server []*grpc.ClientConn
		for each := 0; each < connections; each++ {
			connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithConnectParams(params),
				grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target, err)
			}
			server = append(server, connection)
		}
		s.connections = append(s.connections, server)
	}
	return s, nil
}

// pick gives a caller its connection to the server that is called now, and the server's number.
func (s *servers) pick(caller uint64) (*grpc.ClientConn, int32) {
	current := atomic.LoadInt32(&s.current)
	server := s.connections[current]
	return server[caller%uint64(len(server))], current
}

// leave goes on to the next server, unless another caller has left this one already, or it is only busy.
func (s *servers) leave(number int32, err error) {
	if len(s.connections) > 1 && status.Code(err) != codes.ResourceExhausted {
		atomic.CompareAndSwapInt32(&s.current, number, (number+1)%int32(len(s.connections)))
	}
}

// call makes one call; if it fails, another server is next.
func (s *servers) call(caller uint64, method string, request []byte) error {
	connection, number := s.pick(caller)
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var response []byte
	err := connection.Invoke(ctx, method, &request, &response)
	if err != nil {
		s.leave(number, err)
	}
	return err
}

func reason(err error) string { return status.Code(err).String() }

// runCallers has each caller call again as soon as it has its answer.
func runCallers(o options, kind kind, servers *servers) *record {
	record := newRecord(0)
	var number uint64
	var callers sync.WaitGroup
	end := record.begun.Add(o.duration)
	for each := 0; each < o.concurrency; each++ {
		callers.Add(1)
		go func(caller uint64) {
			defer callers.Done()
			for began := time.Now(); began.Before(end); began = time.Now() {
				request := kind.encode(atomic.AddUint64(&number, 1), o.size, o.batch)
				if err := servers.call(caller, kind.method, request); err != nil {
					record.failed(began, reason(err))
					time.Sleep(pause)
				} else {
					record.answered(began, 1)
				}
			}
		}(uint64(each))
	}
	callers.Wait()
	return record
}

// runAtRate calls at a steady rate, and counts latency from when a call was due. A caller that has its answer takes the
// next call: a new one for each call would cost more than the call, once there are many.
func runAtRate(o options, kind kind, servers *servers) *record {
	total := int(o.rate * o.duration.Seconds())
	record := newRecord(total)
	type call struct {
		number uint64
		due    time.Time
	}
	calls := make(chan call)
	var callers sync.WaitGroup
	caller := func(next call) {
		defer callers.Done()
		for more := true; more; next, more = <-calls {
			record.late(next.due)
			if err := servers.call(next.number, kind.method, kind.encode(next.number, o.size, o.batch)); err != nil {
				record.failed(next.due, reason(err))
			} else {
				record.answered(next.due, 1)
			}
		}
	}
	for each := 0; each < total; each++ {
		due := record.begun.Add(time.Duration(float64(each) / o.rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		select {
		case calls <- call{uint64(each), due}:
		default:
			callers.Add(1)
			go caller(call{uint64(each), due})
		}
	}
	close(calls)
	callers.Wait()
	return record
}
