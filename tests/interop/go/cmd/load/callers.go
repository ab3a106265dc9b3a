package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
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

// servers are connections to all, and which of them is called.
type servers struct {
	connections []*grpc.ClientConn
	current     int32
}

func connect(targets []string) (*servers, error) {
	s := &servers{}
	params := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 50 * time.Millisecond},
		MinConnectTimeout: time.Second,
	}
	for _, target := range targets {
		connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithConnectParams(params),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
		s.connections = append(s.connections, connection)
	}
	return s, nil
}

// pick gives the server that is called now, and its number.
func (s *servers) pick() (*grpc.ClientConn, int32) {
	current := atomic.LoadInt32(&s.current)
	return s.connections[current], current
}

// leave goes on to the next server, unless another caller has left this one already.
func (s *servers) leave(number int32) {
	if len(s.connections) > 1 {
		atomic.CompareAndSwapInt32(&s.current, number, (number+1)%int32(len(s.connections)))
	}
}

// call makes one call; if it fails, another server is next.
func (s *servers) call(method string, request []byte) error {
	connection, number := s.pick()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var response []byte
	err := connection.Invoke(ctx, method, &request, &response)
	if err != nil {
		s.leave(number)
	}
	return err
}

func reason(err error) string { return status.Code(err).String() }

// runCallers has each caller call again as soon as it has its answer.
func runCallers(o options, kind kind, servers *servers) *record {
	record := newRecord()
	var number uint64
	var callers sync.WaitGroup
	end := record.begun.Add(o.duration)
	for each := 0; each < o.concurrency; each++ {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for began := time.Now(); began.Before(end); began = time.Now() {
				request := kind.encode(atomic.AddUint64(&number, 1), o.size, o.batch)
				if err := servers.call(kind.method, request); err != nil {
					record.failed(began, reason(err))
					time.Sleep(pause)
				} else {
					record.answered(began, 1)
				}
			}
		}()
	}
	callers.Wait()
	return record
}

// runAtRate calls at a steady rate, and counts latency from when a call was due.
func runAtRate(o options, kind kind, servers *servers) *record {
	record := newRecord()
	var callers sync.WaitGroup
	total := int(o.rate * o.duration.Seconds())
	for each := 0; each < total; each++ {
		due := record.begun.Add(time.Duration(float64(each) / o.rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		callers.Add(1)
		go func(number uint64) {
			defer callers.Done()
			if err := servers.call(kind.method, kind.encode(number, o.size, o.batch)); err != nil {
				record.failed(due, reason(err))
			} else {
				record.answered(due, 1)
			}
		}(uint64(each))
	}
	callers.Wait()
	return record
}
