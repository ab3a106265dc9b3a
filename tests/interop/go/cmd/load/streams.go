package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

// channels are connections of grpc-go, whose price, for messages of many values, does not show.
type channels struct {
	turn
	connections [][]*grpc.ClientConn
}

func openChannels(o options) (*channels, error) {
	all := &channels{turn: turn{count: int32(len(o.targets))}}
	params := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: redial, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 5 * redial},
		MinConnectTimeout: time.Second,
	}
	for _, target := range o.targets {
		var connections []*grpc.ClientConn
		for each := 0; each < o.connections; each++ {
			connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithConnectParams(params),
				grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target, err)
			}
			connections = append(connections, connection)
		}
		all.connections = append(all.connections, connections)
	}
	return all, nil
}

// runStreams keeps so many messages unanswered on each stream, and opens another when one breaks.
func runStreams(o options, kind kind) (*record, error) {
	channels, err := openChannels(o)
	if err != nil {
		return nil, err
	}
	record := newRecord(0)
	var number uint64
	var streams sync.WaitGroup
	ctx, cancel := context.WithDeadline(context.Background(), record.begun.Add(o.duration+callTimeout))
	defer cancel()
	for each := 0; each < o.concurrency; each++ {
		streams.Add(1)
		go func(caller int) {
			defer streams.Done()
			for began := time.Now(); began.Sub(record.begun) < o.duration; began = time.Now() {
				server := channels.now()
				connection := channels.connections[server][caller%o.connections]
				if err := runStream(ctx, connection, o, kind, record, &number); err != nil {
					channels.leave(server, err)
					record.failed(began, reason(err))
					time.Sleep(pause)
				}
			}
		}(each)
	}
	streams.Wait()
	return record, nil
}

func runStream(ctx context.Context, connection *grpc.ClientConn, o options, kind kind, record *record, number *uint64) error {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, kind.method)
	if err != nil {
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
			for range sent {
			}
			return err
		}
		record.answered(<-sent, o.batch)
	}
}
