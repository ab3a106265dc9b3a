package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// shown is the length up to which Every shows a word as it is; of a longer one it shows the digest.
const shown = 200

// Every keeps all words in the order in which they were committed, so that a test can tell what was lost, repeated or
// put in another order, and so that the state can be large.
//
// Its snapshot is the words one after the other, each after its length as a big-endian uint32.
type Every struct {
	mutex sync.Mutex
	words [][]byte
}

func (e *Every) Words() []string {
	words := e.all()
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = string(word)
		if len(word) > shown {
			texts[i] = fmt.Sprintf("sha256:%x", sha256.Sum256(word))
		}
	}
	return texts
}

func (e *Every) all() [][]byte {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.words[:len(e.words):len(e.words)]
}

func (e *Every) Apply(entry *raft.Log) interface{} {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.words = append(e.words, entry.Data)
	return nil
}

func (e *Every) Snapshot() (raft.FSMSnapshot, error) { return everySnapshot(e.all()), nil }

func (e *Every) Restore(source io.ReadCloser) error {
	defer source.Close()
	reader := bufio.NewReader(source)
	var words [][]byte
	for {
		var size uint32
		err := binary.Read(reader, binary.BigEndian, &size)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		word := make([]byte, size)
		if _, err := io.ReadFull(reader, word); err != nil {
			return err
		}
		words = append(words, word)
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.words = words
	return nil
}

type everySnapshot [][]byte

func (s everySnapshot) Persist(sink raft.SnapshotSink) error {
	for _, word := range s {
		size := make([]byte, 4)
		binary.BigEndian.PutUint32(size, uint32(len(word)))
		for _, part := range [][]byte{size, word} {
			if _, err := sink.Write(part); err != nil {
				sink.Cancel()
				return err
			}
		}
	}
	return sink.Close()
}

func (everySnapshot) Release() {}
