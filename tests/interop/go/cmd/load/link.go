package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	callTimeout = 5 * time.Second
	// timeoutsEvery is how often it is looked which calls have taken too long.
	timeoutsEvery = 100 * time.Millisecond
	// prefixSize is what gRPC puts before a message: whether it is compressed, and its length.
	prefixSize = 5
	// window is how much a server may send us before we say that it may send more; windowStep, how much that is then.
	window     = 1<<31 - 1
	windowStep = 1 << 30
	// defaults of HTTP/2 (RFC 9113, section 6.5.2).
	defaultStreams = 1<<32 - 1
	defaultWindow  = 1<<16 - 1
	defaultFrame   = 1 << 14
)

var (
	errLost = status.Error(codes.Unavailable, "the connection is lost")
	errLate = status.Error(codes.DeadlineExceeded, "no answer in time")
)

// call is one that is under way. Whoever made it hears what came of it, but not the response.
type call struct {
	method  string
	message []byte
	due     time.Time
	done    func(error)

	id       uint32
	window   int // what the server lets us send of it
	received int
}

// outcome is what came of a call.
type outcome struct {
	call *call
	err  error
}

func tell(outcomes []outcome) {
	for _, each := range outcomes {
		each.call.done(each.err)
	}
}

// link is a connection to a server over which calls are made. It does what HTTP/2 and gRPC ask of a client and no more,
// nearly all of it on the goroutine that reads: that one tells callers what came, and the calls they make then go out with
// one write when it has taken all that was there. So a call costs a fifth of what it does on grpc-go.
type link struct {
	authority string
	socket    net.Conn

	sync.Mutex
	framer  *http2.Framer // writes into out
	out     *bytes.Buffer
	spare   *bytes.Buffer // takes its place while it is sent
	encoder *hpack.Encoder
	block   bytes.Buffer

	open     map[uint32]*call
	queued   []*call // until another stream may be open
	unsent   []*call // of which not all could be sent yet
	over     []outcome
	next     uint32 // stream
	streams  uint32 // that may be open: none before the server's settings are here
	initial  int    // window of a stream
	window   int
	frame    int
	received int // since the server was last told that it may send more

	greeted bool // by the server's first settings
	reading bool // whoever reads will flush
	writing bool
	closing bool // takes no further calls
	lost    bool
}

func dial(address string) (*link, error) {
	socket, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	l := &link{
		authority: address, socket: socket, out: &bytes.Buffer{}, spare: &bytes.Buffer{}, open: map[uint32]*call{},
		next: 1, initial: defaultWindow, window: defaultWindow, frame: defaultFrame,
	}
	l.encoder = hpack.NewEncoder(&l.block)
	l.framer = http2.NewFramer(l, nil)
	l.out.WriteString(http2.ClientPreface)
	l.framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	l.framer.WriteWindowUpdate(0, window-defaultWindow)
	go l.read()
	go l.watch()
	return l, nil
}

// Write takes what the framer writes.
func (l *link) Write(frame []byte) (int, error) { return l.out.Write(frame) }

// call begins one; false if no further ones can be made here.
func (l *link) call(c *call) bool {
	l.Lock()
	defer l.Unlock()
	if l.closing {
		return false
	}
	l.queued = append(l.queued, c)
	l.beginQueued()
	l.flushSoon()
	return true
}

func (l *link) beginQueued() {
	for len(l.queued) > 0 && uint32(len(l.open)) < l.streams {
		next := l.queued[0]
		l.queued = l.queued[1:]
		l.begin(next)
	}
}

func (l *link) begin(c *call) {
	c.id, c.window = l.next, l.initial
	l.next += 2
	l.open[c.id] = c
	l.block.Reset()
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: c.method},
		{Name: ":authority", Value: l.authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "load"},
		{Name: "te", Value: "trailers"},
		{Name: "grpc-timeout", Value: strconv.FormatInt(most(1, time.Until(c.due).Microseconds()), 10) + "u"},
	} {
		l.encoder.WriteField(field)
	}
	l.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.id, BlockFragment: l.block.Bytes(), EndHeaders: true})
	if !l.send(c) {
		l.unsent = append(l.unsent, c)
	}
}

// send sends as much of a call's message as it may; whether that is all.
func (l *link) send(c *call) bool {
	for {
		size := least(len(c.message), l.window, c.window, l.frame)
		if size <= 0 {
			return false
		}
		part := c.message[:size]
		c.message = c.message[size:]
		l.window -= size
		c.window -= size
		l.framer.WriteData(c.id, len(c.message) == 0, part)
		if len(c.message) == 0 {
			return true
		}
	}
}

func (l *link) sendUnsent() {
	var left []*call
	for _, c := range l.unsent {
		if l.open[c.id] == c && !l.send(c) {
			left = append(left, c)
		}
	}
	l.unsent = left
}

// flushSoon has what is to be sent go out, if nobody sees to that already.
func (l *link) flushSoon() {
	if !l.reading && !l.writing {
		l.writing = true
		go l.flush()
	}
}

func (l *link) flush() {
	l.Lock()
	defer l.Unlock()
	for l.out.Len() > 0 && !l.lost {
		full := l.out
		l.out, l.spare = l.spare, nil
		l.Unlock()
		_, err := l.socket.Write(full.Bytes())
		l.Lock()
		full.Reset()
		l.spare = full
		if err != nil {
			l.socket.Close() // Whoever reads sees to the rest.
			break
		}
	}
	l.writing = false
}

func (l *link) read() {
	reader := bufio.NewReaderSize(l.socket, 1<<16)
	framer := http2.NewFramer(io.Discard, reader)
	framer.SetReuseFrames()
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			l.lose()
			return
		}
		l.Lock()
		l.reading = true
		l.take(frame)
		tell(l.settle())
		if reader.Buffered() == 0 {
			l.Lock()
			l.reading = false
			flush := !l.writing && l.out.Len() > 0
			l.writing = l.writing || flush
			l.Unlock()
			if flush {
				l.flush()
			}
		}
	}
}

// settle unlocks and returns whom to tell that a call is over: they may call again.
func (l *link) settle() []outcome {
	over := l.over
	l.over = nil
	l.Unlock()
	return over
}

func (l *link) take(frame http2.Frame) {
	switch frame := frame.(type) {
	case *http2.MetaHeadersFrame:
		if c := l.open[frame.StreamID]; c != nil && frame.StreamEnded() {
			l.end(c, ended(c, frame))
		}
	case *http2.DataFrame:
		if l.received += int(frame.Length); l.received >= windowStep {
			l.framer.WriteWindowUpdate(0, uint32(l.received))
			l.received = 0
		}
		if c := l.open[frame.StreamID]; c != nil {
			c.received += len(frame.Data())
			if frame.StreamEnded() {
				l.end(c, status.Error(codes.Internal, "the stream ended without a status"))
			}
		}
	case *http2.RSTStreamFrame:
		if c := l.open[frame.StreamID]; c != nil {
			l.end(c, status.Error(reset(frame.ErrCode), frame.ErrCode.String()))
		}
	case *http2.WindowUpdateFrame:
		if frame.StreamID == 0 {
			l.window += int(frame.Increment)
		} else if c := l.open[frame.StreamID]; c != nil {
			c.window += int(frame.Increment)
		}
		l.sendUnsent()
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			l.settings(frame)
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			l.framer.WritePing(true, frame.Data)
		}
	case *http2.GoAwayFrame:
		l.goAway(frame.LastStreamID)
	}
}

func (l *link) settings(frame *http2.SettingsFrame) {
	if !l.greeted {
		l.greeted, l.streams = true, defaultStreams
	}
	_ = frame.ForeachSetting(func(setting http2.Setting) error {
		switch setting.ID {
		case http2.SettingMaxConcurrentStreams:
			l.streams = setting.Val
		case http2.SettingInitialWindowSize:
			for _, c := range l.open {
				c.window += int(setting.Val) - l.initial
			}
			l.initial = int(setting.Val)
		case http2.SettingMaxFrameSize:
			l.frame = int(setting.Val)
		case http2.SettingHeaderTableSize:
			l.encoder.SetMaxDynamicTableSizeLimit(setting.Val)
		}
		return nil
	})
	l.framer.WriteSettingsAck()
	l.sendUnsent()
	l.beginQueued()
}

// goAway ends what the server will not answer any more, and takes no further calls.
func (l *link) goAway(last uint32) {
	l.closing = true
	for _, c := range l.queued {
		l.over = append(l.over, outcome{c, errLost})
	}
	l.queued = nil
	for id, c := range l.open {
		if id > last {
			l.end(c, errLost)
		}
	}
}

// end has a call be over, and begins one that has waited for that.
func (l *link) end(c *call, err error) {
	delete(l.open, c.id)
	l.over = append(l.over, outcome{c, err})
	l.beginQueued()
	if l.closing && len(l.open) == 0 {
		l.socket.Close()
	}
}

// watch ends calls that take too long.
func (l *link) watch() {
	ticker := time.NewTicker(timeoutsEvery)
	defer ticker.Stop()
	for now := range ticker.C {
		l.Lock()
		if l.lost {
			l.Unlock()
			return
		}
		for len(l.queued) > 0 && now.After(l.queued[0].due) {
			l.over = append(l.over, outcome{l.queued[0], errLate})
			l.queued = l.queued[1:]
		}
		for id, c := range l.open {
			if now.After(c.due) {
				l.framer.WriteRSTStream(id, http2.ErrCodeCancel)
				l.end(c, errLate)
			}
		}
		l.flushSoon()
		tell(l.settle())
	}
}

// lose ends all calls.
func (l *link) lose() {
	l.socket.Close()
	l.Lock()
	l.closing, l.lost = true, true
	for _, c := range l.queued {
		l.over = append(l.over, outcome{c, errLost})
	}
	for _, c := range l.open {
		l.over = append(l.over, outcome{c, errLost})
	}
	l.open, l.queued, l.unsent = nil, nil, nil
	tell(l.settle())
}

// ended is what came of a call that ended with these headers.
func ended(c *call, frame *http2.MetaHeadersFrame) error {
	code, message := "", ""
	for _, field := range frame.Fields {
		switch field.Name {
		case "grpc-status":
			code = field.Value
		case "grpc-message":
			message = field.Value
		}
	}
	number, err := strconv.ParseUint(code, 10, 32)
	switch {
	case err != nil:
		return status.Errorf(answered(frame.PseudoValue("status")), "no grpc-status but %q", frame.PseudoValue("status"))
	case number == 0 && c.received < prefixSize:
		return status.Error(codes.Internal, "a response without a message")
	}
	return status.Error(codes.Code(number), message)
}

// answered is gRPC's code for a response that has only HTTP's.
func answered(code string) codes.Code {
	switch code {
	case "429", "502", "503", "504":
		return codes.Unavailable
	default:
		return codes.Unknown
	}
}

// reset is gRPC's code for a stream that was reset with HTTP/2's.
func reset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	default:
		return codes.Internal
	}
}

// framed is a message as gRPC sends it.
func framed(message []byte) []byte {
	prefix := make([]byte, prefixSize, prefixSize+len(message))
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	return append(prefix, message...)
}

func most(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}

func least(first int, others ...int) int {
	for _, each := range others {
		if each < first {
			first = each
		}
	}
	return first
}
