// Package admin is the RaftAdmin service.
package admin

import (
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/hashicorp/raft"
)

// operation is something under way; its outcome may be asked for by any number of callers at a time, which that of a
// raft.Future may not.
type operation struct {
	done  chan struct{}
	err   error
	index uint64
}

// operations are known by their tokens until they are forgotten.
type operations struct {
	mutex   sync.Mutex
	byToken map[string]*operation
}

func (o *operations) begin(future raft.Future) (string, error) {
	random := make([]byte, 20)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	token := hex.EncodeToString(random)
	op := &operation{done: make(chan struct{})}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.byToken[token] = op
	go func() {
		op.err = future.Error()
		if withIndex, ok := future.(raft.IndexFuture); ok && op.err == nil {
			op.index = withIndex.Index()
		}
		close(op.done)
	}()
	return token, nil
}

func (o *operations) find(token string) (*operation, bool) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	op, ok := o.byToken[token]
	return op, ok
}

func (o *operations) forget(token string) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	delete(o.byToken, token)
}
