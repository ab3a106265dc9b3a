package main

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// client calls methods of test.Echo, whose messages are plain bytes.
type client struct {
	server     string
	connection *grpc.ClientConn
	sizes      *sizes
}

func connect(server string, options ...grpc.DialOption) (*client, error) {
	c := &client{server: server, sizes: &sizes{}}
	options = append(options,
		grpc.WithInsecure(), grpc.WithStatsHandler(c.sizes), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	connection, err := grpc.Dial(server, options...)
	c.connection = connection
	return c, err
}

func (c *client) close() { c.connection.Close() }

func (c *client) unary(ctx context.Context, method string, request []byte, options ...grpc.CallOption) ([]byte, error) {
	var response []byte
	err := c.connection.Invoke(ctx, "/test.Echo/"+method, request, &response, options...)
	return response, err
}

// open begins a call whose requests, responses or both are a stream.
func (c *client) open(ctx context.Context, method string, options ...grpc.CallOption) (stream, error) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	s, err := c.connection.NewStream(ctx, description, "/test.Echo/"+method, options...)
	return stream{s}, err
}

type stream struct{ grpc.ClientStream }

func (s stream) send(message []byte) error { return s.SendMsg(message) }

func (s stream) receive() ([]byte, error) {
	var message []byte
	err := s.RecvMsg(&message)
	return message, err
}

// plain takes messages for bytes.
type plain struct{}

func (plain) Name() string { return "plain" }

func (plain) Marshal(message interface{}) ([]byte, error) { return message.([]byte), nil }

func (plain) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// sizes keeps how many bytes the messages of a connection had, and how many of them travelled.
type sizes struct {
	lock     sync.Mutex
	sent     []size
	received []size
}

type size struct{ length, travelled int }

func (s *sizes) HandleRPC(_ context.Context, event stats.RPCStats) {
	s.lock.Lock()
	defer s.lock.Unlock()
	switch payload := event.(type) {
	case *stats.OutPayload:
		s.sent = append(s.sent, size{payload.Length, payload.WireLength})
	case *stats.InPayload:
		s.received = append(s.received, size{payload.Length, payload.WireLength})
	}
}

func (*sizes) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (*sizes) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (*sizes) HandleConn(context.Context, stats.ConnStats) {}

// expectStatus fails unless err is this status.
func expectStatus(err error, code codes.Code, message string) error {
	if got := status.Convert(err); got.Code() != code || got.Message() != message {
		return fmt.Errorf("status %v %q, expected %v %q", got.Code(), got.Message(), code, message)
	}
	return nil
}

// expectCode fails unless err has this code.
func expectCode(err error, code codes.Code) error {
	if got := status.Code(err); got != code {
		return fmt.Errorf("status %v, expected %v", err, code)
	}
	return nil
}
