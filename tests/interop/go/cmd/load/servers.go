package main

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// redial is how long it takes until a server is tried again that could not be reached.
const redial = 10 * time.Millisecond

// turn is which of so many servers is called.
type turn struct{ count, current int32 }

func (t *turn) now() int32 { return atomic.LoadInt32(&t.current) }

// leave goes on to the next server, unless another caller has left this one already, or it is only busy.
func (t *turn) leave(server int32, err error) {
	if status.Code(err) != codes.ResourceExhausted {
		atomic.CompareAndSwapInt32(&t.current, server, (server+1)%t.count)
	}
}

// server is where calls go to over one link after another; there is a new one when the last has ended.
type server struct {
	address string

	sync.Mutex
	link    *link
	dialing bool
	waiting []*call
	retry   time.Time
}

func newServer(address string) *server {
	s := &server{address: address, dialing: true}
	go s.dial()
	return s
}

func (s *server) call(c *call) {
	s.Lock()
	if s.link != nil && s.link.call(c) {
		s.Unlock()
		return
	}
	s.link = nil
	if !s.dialing && time.Now().Before(s.retry) {
		s.Unlock()
		c.done(errLost)
		return
	}
	s.waiting = append(s.waiting, c)
	if !s.dialing {
		s.dialing = true
		go s.dial()
	}
	s.Unlock()
}

func (s *server) dial() {
	link, err := dial(s.address)
	s.Lock()
	s.link, s.dialing = link, false
	waiting := s.waiting
	s.waiting = nil
	if err != nil {
		s.retry = time.Now().Add(redial)
	}
	s.Unlock()
	for _, c := range waiting {
		if err == nil && !link.call(c) {
			err = errLost
		}
		if err != nil {
			c.done(err)
		}
	}
}

// servers are those that may be called, each over so many connections.
type servers struct {
	turn
	connections [][]*server
}

func connect(o options) *servers {
	all := &servers{turn: turn{count: int32(len(o.targets))}}
	for _, target := range o.targets {
		var connections []*server
		for each := 0; each < o.connections; each++ {
			connections = append(connections, newServer(target))
		}
		all.connections = append(all.connections, connections)
	}
	return all
}

// call makes a call of the server whose turn it is; if it fails, another is next.
func (s *servers) call(caller uint64, kind kind, message []byte, done func(error)) {
	number := s.now()
	connections := s.connections[number]
	connections[caller%uint64(len(connections))].call(&call{
		method: kind.method, message: framed(message), due: time.Now().Add(callTimeout),
		done: func(err error) {
			if err != nil {
				s.leave(number, err)
			}
			done(err)
		},
	})
}
