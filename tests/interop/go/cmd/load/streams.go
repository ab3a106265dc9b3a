package main

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// runStreams keeps so many messages unanswered on each stream, and opens another when one breaks.
func runStreams(o options, kind kind, servers *servers) *record {
	record := newRecord(0)
	var number uint64
	var streams sync.WaitGroup
	ctx, cancel := context.WithDeadline(context.Background(), record.begun.Add(o.duration+callTimeout))
	defer cancel()
	for each := 0; each < o.concurrency; each++ {
		streams.Add(1)
		go func(caller uint64) {
			defer streams.Done()
			for began := time.Now(); began.Sub(record.begun) < o.duration; began = time.Now() {
				if err := runStream(ctx, caller, o, kind, servers, record, &number); err != nil {
					record.failed(began, reason(err))
					time.Sleep(pause)
				}
			}
		}(uint64(each))
	}
	streams.Wait()
	return record
}

func runStream(ctx context.Context, caller uint64, o options, kind kind, servers *servers, record *record, number *uint64) error {
	connection, at := servers.pick(caller)
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, kind.method)
	if err != nil {
		servers.leave(at, err)
		return err
	}
	sent := make(chan time.Time, o.window)
	go func() {
		defer close(sent)
		for began := time.Now(); began.Sub(record.begun) < o.duration; began = time.Now() {
			request := kind.encode(atomic.AddUint64(number, uint64(o.batch)), o.size, o.batch)
			sent <- began
			if stream.SendMsg(&request) != nil {
				return // Receiving says why.
			}
		}
		_ = stream.CloseSend()
	}()
	for {
		var response []byte
		if err := stream.RecvMsg(&response); err == io.EOF {
			return nil
		} else if err != nil {
			servers.leave(at, err)
			for range sent {
			}
			return err
		}
		record.answered(<-sent, o.batch)
	}
}
