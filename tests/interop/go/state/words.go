// Package state holds the state machines a peer can run.
package state

import (
	"io"
	"io/ioutil"
	"sort"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// Machine is a state machine whose words can be read at any time.
type Machine interface {
	raft.FSM
	Words() []string
}

// kept is how many words a Longest keeps.
const kept = 3

// Longest keeps the longest words (in bytes), the longest first, equally long ones in the order of their bytes.
type Longest struct {
	mutex sync.Mutex
	words [kept]string
}

func (l *Longest) Words() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append([]string(nil), l.words[:]...)
}

func (l *Longest) Apply(entry *raft.Log) interface{} {
	// Newlines separate the words of a snapshot.
	word := strings.ReplaceAll(strings.ToValidUTF8(string(entry.Data), "\uFFFD"), "\n", " ")
	l.mutex.Lock()
	defer l.mutex.Unlock()
	words := append(l.words[:], word)
	sort.Slice(words, func(i, j int) bool {
		if len(words[i]) != len(words[j]) {
			return len(words[i]) > len(words[j])
		}
		return words[i] < words[j]
	})
	copy(l.words[:], words)
	return nil
}

func (l *Longest) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot(strings.Join(l.Words(), "\n")), nil
}

func (l *Longest) Restore(source io.ReadCloser) error {
	defer source.Close()
	text, err := ioutil.ReadAll(source)
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.words = [kept]string{}
	copy(l.words[:], strings.Split(string(text), "\n"))
	return nil
}

// snapshot is a state that has been written out already.
type snapshot []byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}
