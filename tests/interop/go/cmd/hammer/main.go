// Command hammer does what this project's hammer does: adds words to a cluster, ten at a time, through whatever node
// leads, and asks which were the longest.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/ioutil"
	"log"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health" // has clients watch it
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"raftpeer/pb"
)

const (
	workers = 10
	timeout = time.Minute
	// Calls go only to a node on which the health service says that it leads.
	leaderOnly = `{"loadBalancingPolicy": "round_robin", "healthCheckConfig": {"serviceName": "Example"}}`
)

func main() {
	targets := flag.String("targets", "localhost:50051,localhost:50052,localhost:50053", "the nodes, host:port,host:port,…")
	file := flag.String("words", "", "a file of words, one a line")
	flag.Parse()
	text, err := ioutil.ReadFile(*file)
	if err != nil {
		log.Fatalf("hammer: %v", err)
	}
	if err := hammer(strings.Split(*targets, ","), strings.Split(strings.TrimSpace(string(text)), "\n")); err != nil {
		log.Fatalf("hammer: %v", err)
	}
}

func hammer(targets, words []string) error {
	nodes := manual.NewBuilderWithScheme("nodes")
	state := resolver.State{}
	for _, target := range targets {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: target})
	}
	nodes.InitialState(state)
	connection, err := grpc.Dial("nodes:///raft", grpc.WithInsecure(), grpc.WithAuthority("raft"), grpc.WithResolvers(nodes),
		grpc.WithDefaultServiceConfig(leaderOnly), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewExampleClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := addAll(ctx, client, words); err != nil {
		return err
	}
	best, err := client.GetWords(ctx, &pb.GetWordsRequest{})
	if err != nil {
		return err
	}
	fmt.Println(best)
	return nil
}

// addAll adds each word once, so many at a time; the first error is returned.
func addAll(ctx context.Context, client pb.ExampleClient, words []string) error {
	left := make(chan string, len(words))
	for _, word := range words {
		left <- word
	}
	close(left)
	failures := make(chan error, workers)
	var adding sync.WaitGroup
	for each := 0; each < workers; each++ {
		adding.Add(1)
		go func() {
			defer adding.Done()
			for word := range left {
				if _, err := client.AddWord(ctx, &pb.AddWordRequest{Word: word}); err != nil {
					failures <- fmt.Errorf("AddWord(%q): %w", word, err)
					return
				}
			}
		}()
	}
	adding.Wait()
	close(failures)
	return <-failures
}
