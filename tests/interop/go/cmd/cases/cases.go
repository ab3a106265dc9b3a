package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

type testCase func(context.Context, *client) error

// cases are those of gRPC's doc/interop-test-descriptions.md that need neither TLS nor a cloud, by their names there,
// and at the end one that this project adds.
var cases = map[string]testCase{
	"empty_unary":                 emptyUnary,
	"large_unary":                 largeUnary,
	"client_compressed_unary":     clientCompressedUnary,
	"server_compressed_unary":     serverCompressedUnary,
	"client_streaming":            clientStreaming,
	"client_compressed_streaming": clientCompressedStreaming,
	"server_streaming":            serverStreaming,
	"server_compressed_streaming": serverCompressedStreaming,
	"ping_pong":                   pingPong,
	"empty_stream":                emptyStream,
	"custom_metadata":             customMetadata,
	"status_code_and_message":     statusCodeAndMessage,
	"special_status_message":      specialStatusMessage,
	"unimplemented_method":        unimplementedMethod,
	"unimplemented_service":       unimplementedService,
	"cancel_after_begin":          cancelAfterBegin,
	"cancel_after_first_response": cancelAfterFirstResponse,
	"timeout_on_sleeping_server":  timeoutOnSleepingServer,
	"rpc_soak":                    rpcSoak,
	"channel_soak":                channelSoak,
	"several_authorities":         severalAuthorities,
}

const (
	initial  = "x-grpc-test-echo-initial"
	trailing = "x-grpc-test-echo-trailing-bin"
	soak     = 100
)

var (
	requestSizes  = []int{27182, 8, 1828, 45904}
	responseSizes = []int{31415, 9, 2653, 58979}
	large         = bytes.Repeat([]byte("compressible"), 26000)
	plainly       = append([]byte("plain"), large...) // The server is not to compress this one.
	compressed    = grpc.UseCompressor(gzip.Name)
)

// -- one request, one response --

func emptyUnary(ctx context.Context, c *client) error { return echoes(ctx, c, nil) }

func largeUnary(ctx context.Context, c *client) error { return echoes(ctx, c, large) }

func clientCompressedUnary(ctx context.Context, c *client) error {
	if err := echoes(ctx, c, large); err != nil {
		return err
	}
	if err := echoes(ctx, c, large, compressed); err != nil {
		return err
	}
	return expectCompressed(c.sizes.sent, false, true)
}

func serverCompressedUnary(ctx context.Context, c *client) error {
	for _, message := range [][]byte{large, plainly} {
		response, err := c.unary(ctx, "Compressed", message, compressed)
		if err := expectEcho(response, err, message); err != nil {
			return err
		}
	}
	return expectCompressed(c.sizes.received, true, false)
}

// -- streams --

func clientStreaming(ctx context.Context, c *client) error {
	return collects(ctx, c)
}

func clientCompressedStreaming(ctx context.Context, c *client) error {
	if err := collects(ctx, c, compressed); err != nil {
		return err
	}
	return expectCompressed(c.sizes.sent, true, true, true, true)
}

func serverStreaming(ctx context.Context, c *client) error {
	var wanted []string
	for _, size := range responseSizes {
		wanted = append(wanted, strconv.Itoa(size))
	}
	responses, err := chat(ctx, c, "Send", [][]byte{[]byte(strings.Join(wanted, " "))})
	if err != nil {
		return err
	}
	return expectSizes(responses, responseSizes)
}

func serverCompressedStreaming(ctx context.Context, c *client) error {
	requests := [][]byte{large, plainly, large}
	responses, err := chat(ctx, c, "ChatCompressed", requests, compressed)
	if err != nil {
		return err
	}
	for number, response := range responses {
		if err := expectEcho(response, nil, requests[number]); err != nil {
			return err
		}
	}
	return expectCompressed(c.sizes.received, true, false, true)
}

func pingPong(ctx context.Context, c *client) error {
	s, err := c.open(ctx, "Chat")
	if err != nil {
		return err
	}
	for _, size := range requestSizes {
		if err := s.send(make([]byte, size)); err != nil {
			return err
		}
		response, err := s.receive()
		if err := expectEcho(response, err, make([]byte, size)); err != nil {
			return err
		}
	}
	s.CloseSend()
	if _, err = s.receive(); err != io.EOF {
		return fmt.Errorf("the stream ends with %v", err)
	}
	return nil
}

func emptyStream(ctx context.Context, c *client) error {
	responses, err := chat(ctx, c, "Chat", nil)
	if err != nil {
		return err
	}
	return expectSizes(responses, nil)
}

// -- metadata and status --

func customMetadata(ctx context.Context, c *client) error {
	ctx = metadata.AppendToOutgoingContext(ctx, initial, "test_initial_metadata_value", trailing, "\xab\xab\xab")
	var header, trailer metadata.MD
	if err := echoes(ctx, c, []byte("x"), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		return err
	}
	if err := expectMetadata(header, trailer); err != nil {
		return err
	}
	if _, err := chat(ctx, c, "Chat", [][]byte{[]byte("x")}, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		return err
	}
	return expectMetadata(header, trailer)
}

func statusCodeAndMessage(ctx context.Context, c *client) error {
	request := []byte("UNKNOWN test status message")
	_, err := c.unary(ctx, "Status", request)
	if err := expectStatus(err, codes.Unknown, "test status message"); err != nil {
		return err
	}
	_, err = chat(ctx, c, "ChatStatus", [][]byte{request})
	return expectStatus(err, codes.Unknown, "test status message")
}

func specialStatusMessage(ctx context.Context, c *client) error {
	message := "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	_, err := c.unary(ctx, "Status", []byte("UNKNOWN "+message))
	return expectStatus(err, codes.Unknown, message)
}

func unimplementedMethod(ctx context.Context, c *client) error {
	_, err := c.unary(ctx, "NoSuchMethod", nil)
	return expectCode(err, codes.Unimplemented)
}

func unimplementedService(ctx context.Context, c *client) error {
	var response []byte
	err := c.connection.Invoke(ctx, "/test.NoSuchService/Echo", []byte(nil), &response)
	return expectCode(err, codes.Unimplemented)
}

// -- calls that end early --

func cancelAfterBegin(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.open(ctx, "Collect")
	if err != nil {
		return err
	}
	cancel()
	_, err = s.receive()
	return expectCode(err, codes.Canceled)
}

func cancelAfterFirstResponse(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.open(ctx, "SleepBetween")
	if err != nil {
		return err
	}
	if err := s.send([]byte("one")); err != nil {
		return err
	}
	response, err := s.receive()
	if err := expectEcho(response, err, []byte("one")); err != nil {
		return err
	}
	cancel()
	_, err = s.receive()
	return expectCode(err, codes.Canceled)
}

func timeoutOnSleepingServer(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	s, err := c.open(ctx, "Ignore")
	if err == nil {
		_, err = s.receive()
	}
	return expectCode(err, codes.DeadlineExceeded)
}

// -- many calls, and connections --

func rpcSoak(ctx context.Context, c *client) error {
	for number := 0; number < soak; number++ {
		if err := echoes(ctx, c, large); err != nil {
			return fmt.Errorf("call %d: %v", number, err)
		}
	}
	return nil
}

func channelSoak(ctx context.Context, c *client) error {
	for number := 0; number < soak; number++ {
		another, err := connect(c.server)
		if err != nil {
			return err
		}
		err = echoes(ctx, another, large)
		another.close()
		if err != nil {
			return fmt.Errorf("connection %d: %v", number, err)
		}
	}
	return nil
}

// severalAuthorities sends the authority that is sent for a target of several nodes.
func severalAuthorities(ctx context.Context, c *client) error {
	another, err := connect(c.server, grpc.WithAuthority("127.0.0.1:1,127.0.0.1:2"))
	if err != nil {
		return err
	}
	defer another.close()
	return echoes(ctx, another, nil)
}

// -- what cases share --

func echoes(ctx context.Context, c *client, message []byte, options ...grpc.CallOption) error {
	response, err := c.unary(ctx, "Echo", message, options...)
	return expectEcho(response, err, message)
}

func collects(ctx context.Context, c *client, options ...grpc.CallOption) error {
	var requests [][]byte
	for _, size := range requestSizes {
		requests = append(requests, make([]byte, size))
	}
	responses, err := chat(ctx, c, "Collect", requests, options...)
	if err != nil {
		return err
	}
	if len(responses) != 1 || string(responses[0]) != "74922" {
		return fmt.Errorf("responses %q, expected the sum 74922", responses)
	}
	return nil
}

// chat sends requests without waiting and returns all responses.
func chat(ctx context.Context, c *client, method string, requests [][]byte, options ...grpc.CallOption) ([][]byte, error) {
	s, err := c.open(ctx, method, options...)
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if err := s.send(request); err != nil && err != io.EOF { // EOF: receive says why.
			return nil, err
		}
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	var responses [][]byte
	for {
		response, err := s.receive()
		if err == io.EOF {
			return responses, nil
		}
		if err != nil {
			return responses, err
		}
		responses = append(responses, response)
	}
}

func expectEcho(response []byte, err error, message []byte) error {
	if err == nil && !bytes.Equal(response, message) {
		err = fmt.Errorf("%d bytes came back that are not the %d bytes sent", len(response), len(message))
	}
	return err
}

func expectSizes(messages [][]byte, sizes []int) error {
	var got []int
	for _, message := range messages {
		got = append(got, len(message))
	}
	if fmt.Sprint(got) != fmt.Sprint(sizes) {
		return fmt.Errorf("messages of %v bytes, expected %v", got, sizes)
	}
	return nil
}

// expectCompressed fails unless exactly these messages travelled in fewer bytes than they have; one of a few bytes
// counts as compressed if it travelled in another number of bytes.
func expectCompressed(all []size, expected ...bool) error {
	const prefix = 5 // That of a message; grpc counts it in those sent, but not in those received.
	var got []bool
	for _, each := range all {
		got = append(got, each.travelled != each.length && each.travelled != each.length+prefix)
	}
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		return fmt.Errorf("compressed: %v, expected %v, of %v", got, expected, all)
	}
	return nil
}

func expectMetadata(header, trailer metadata.MD) error {
	if got := header[initial]; len(got) != 1 || got[0] != "test_initial_metadata_value" {
		return fmt.Errorf("%s is %q", initial, got)
	}
	if got := trailer[trailing]; len(got) != 1 || got[0] != "\xab\xab\xab" {
		return fmt.Errorf("%s is %q", trailing, got)
	}
	return nil
}
