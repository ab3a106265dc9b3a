package main

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// runStreams keeps each stream as full as the server takes it, and opens another when one breaks.
func runStreams(o options, kind kind, servers *servers) *record {
	record := newRecord()
	var number uint64
	var streams sync.WaitGroup
	ctx, cancel := context.WithDeadline(context.Background(), record.begun.Add(o.duration+callTimeout))
	defer cancel()
	for each := 0; each < o.concurrency; each++ {
		streams.Add(1)
		go func() {
			defer streams.Done()
			for began := time.Now(); began.Sub(record.begun) < o.duration; began = time.Now() {
				if err := runStream(ctx, o, kind, servers, record, &number); err != nil {
					record.failed(began, reason(err))
					time.Sleep(pause)
				}
			}
		}()
	}
	streams.Wait()
	return record
}

func runStream(ctx context.Context, o options, kind kind, servers *servers, record *record, number *uint64) error {
	connection, at := servers.pick()
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, kind.method)
	if err != nil {
		servers.leave(at)
		return err
	}
	sent := make(chan time.Time, 1<<16)
	go func() {
		defer close(sent)
		for began := time.Now(); began.Sub(record.begun) < o.duration; began = time.Now() {
			request := kind.encode(atomic.AddUint64(number, uint64(o.batch)), o.size, o.batch)
			if stream.SendMsg(&request) != nil {
				return // Receiving says why.
			}
			sent <- began
		}
		_ = stream.CloseSend()
	}()
	for {
		var response []byte
		if err := stream.RecvMsg(&response); err == io.EOF {
			return nil
		} else if err != nil {
			servers.leave(at)
			for range sent {
			}
			return err
		}
		record.answered(<-sent, o.batch)
	}
}
