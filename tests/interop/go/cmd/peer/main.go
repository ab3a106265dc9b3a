// Command peer is one node of a replicated service on hashicorp/raft, to be mixed with nodes of this project.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"raftpeer/admin"
	"raftpeer/example"
	"raftpeer/leader"
	"raftpeer/state"
	"raftpeer/transport"
)

// keptSnapshots is how many snapshots stay on disk.
const keptSnapshots = 3

type options struct {
	address   string
	listen    string
	dataDir   string
	bootstrap bool
	machine   string
	raft      *raft.Config
}

func main() {
	options := parse()
	if err := run(options); err != nil {
		log.Fatalf("peer: %v", err)
	}
}

func parse() options {
	o := options{raft: raft.DefaultConfig()}
	id := flag.String("raft_id", "", "the node's id in the cluster")
	flag.StringVar(&o.address, "address", "localhost:50051", "where peers and clients reach this node")
	flag.StringVar(&o.listen, "listen", "", "where to listen, if not on --address")
	flag.StringVar(&o.dataDir, "raft_data_dir", "data/", "holds a directory per id")
	flag.BoolVar(&o.bootstrap, "raft_bootstrap", false, "begin a new cluster with this node as its only voter")
	flag.StringVar(&o.machine, "fsm", "words", "the state machine: words keeps the three longest, log keeps all")
	flag.DurationVar(&o.raft.HeartbeatTimeout, "heartbeat_timeout", o.raft.HeartbeatTimeout, "")
	flag.DurationVar(&o.raft.ElectionTimeout, "election_timeout", o.raft.ElectionTimeout, "")
	flag.DurationVar(&o.raft.LeaderLeaseTimeout, "leader_lease_timeout", o.raft.LeaderLeaseTimeout, "")
	flag.DurationVar(&o.raft.CommitTimeout, "commit_timeout", o.raft.CommitTimeout, "")
	flag.DurationVar(&o.raft.SnapshotInterval, "snapshot_interval", o.raft.SnapshotInterval, "")
	flag.Uint64Var(&o.raft.SnapshotThreshold, "snapshot_threshold", o.raft.SnapshotThreshold, "")
	flag.Uint64Var(&o.raft.TrailingLogs, "trailing_logs", o.raft.TrailingLogs, "")
	flag.IntVar(&o.raft.MaxAppendEntries, "max_append_entries", o.raft.MaxAppendEntries, "")
	flag.StringVar(&o.raft.LogLevel, "log_level", "info", "")
	flag.Parse()
	o.raft.LocalID = raft.ServerID(*id)
	if o.listen == "" {
		o.listen = o.address
	}
	return o
}

func run(o options) error {
	machine, err := newMachine(o.machine)
	if err != nil {
		return err
	}
	// A node that can't listen should not touch its data.
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	leads := make(chan bool, 16)
	o.raft.NotifyCh = leads
	peers := transport.New(raft.ServerAddress(o.address))
	node, err := start(o, machine, peers)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	peers.Register(server)
	admin.Register(server, node)
	example.Register(server, node, machine)
	go leader.Register(server).Follow(leads)
	reflection.Register(server)
	return server.Serve(listener)
}

func newMachine(name string) (state.Machine, error) {
	switch name {
	case "words":
		return &state.Longest{}, nil
	case "log":
		return &state.Every{}, nil
	default:
		return nil, fmt.Errorf("unknown --fsm %q: must be words or log", name)
	}
}

// start opens the node's stores and runs Raft on them.
func start(o options, machine raft.FSM, peers raft.Transport) (*raft.Raft, error) {
	directory := filepath.Join(o.dataDir, string(o.raft.LocalID))
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	logs, err := boltdb.NewBoltStore(filepath.Join(directory, "logs.dat"))
	if err != nil {
		return nil, err
	}
	stable, err := boltdb.NewBoltStore(filepath.Join(directory, "stable.dat"))
	if err != nil {
		return nil, err
	}
	snapshots, err := raft.NewFileSnapshotStore(directory, keptSnapshots, os.Stderr)
	if err != nil {
		return nil, err
	}
	if o.bootstrap {
		self := raft.Server{ID: o.raft.LocalID, Address: raft.ServerAddress(o.address)}
		configuration := raft.Configuration{Servers: []raft.Server{self}}
		if err := raft.BootstrapCluster(o.raft, logs, stable, snapshots, peers, configuration); err != nil {
			return nil, err
		}
	}
	return raft.NewRaft(o.raft, machine, logs, stable, snapshots, peers)
}
