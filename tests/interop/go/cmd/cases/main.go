// Command cases runs gRPC's interoperability test cases against a server of the test service test.Echo, and prints for
// each what came of it, as one JSON object a line. Its exit code is 1 if one failed.
//
//	cases --server localhost:50051 [CASE…]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"sort"
	"time"
)

type outcome struct {
	Case  string `json:"case"`
	Error string `json:"error"`
}

func main() {
	log.SetFlags(0)
	server := flag.String("server", "localhost:50051", "host:port")
	patience := flag.Duration("patience", 30*time.Second, "how long one case may take")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		for name := range cases {
			names = append(names, name)
		}
		sort.Strings(names)
	}
	failed := false
	for _, name := range names {
		if cases[name] == nil {
			log.Fatalf("cases: there is no case %q", name)
		}
		result := outcome{Case: name}
		if err := run(cases[name], *server, *patience); err != nil {
			result.Error = err.Error()
			failed = true
		}
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			log.Fatalf("cases: %v", err)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// run lets a case have a connection of its own.
func run(check testCase, server string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := connect(server)
	if err != nil {
		return err
	}
	defer c.close()
	return check(ctx, c)
}
