// Command load calls a server from so many callers at a time and prints as JSON what it got: calls a second, latencies,
// and when answers came. It takes messages for bytes, so that it costs the same whatever the server is.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// memory is how much may be used before garbage is collected: with many calls under way, that costs more than the calls.
const memory = 2 << 30

type options struct {
	targets     []string
	request     string
	size        int
	concurrency int
	duration    time.Duration
	rate        float64
	batch       int
	window      int
	connections int
	timeline    time.Duration
}

func main() {
	o := options{}
	targets := flag.String("targets", "localhost:50051", "the servers, host:port,host:port,…; the next one is called when one fails")
	flag.StringVar(&o.request, "request", "add_word", "what is called: "+strings.Join(names(), ", "))
	flag.IntVar(&o.size, "size", 16, "bytes of each value")
	flag.IntVar(&o.concurrency, "concurrency", 1, "how many callers, or streams, there are")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long to call")
	flag.Float64Var(&o.rate, "rate", 0, "calls a second, whether answers come or not; 0: a caller calls again when it has its answer")
	flag.IntVar(&o.batch, "batch", 100, "values in one message of a stream")
	flag.IntVar(&o.window, "window", 32, "messages of a stream that may be unanswered")
	flag.IntVar(&o.connections, "connections", 1, "connections to each server, over which callers are spread")
	flag.DurationVar(&o.timeline, "timeline", 10*time.Millisecond, "what part of the time one number of the timeline stands for")
	flag.Parse()
	o.targets = strings.Split(*targets, ",")
	kind, known := kinds[o.request]
	if !known {
		log.Fatalf("load: unknown --request %q: want one of %s", o.request, strings.Join(names(), ", "))
	}
	if o.size < 1 || o.concurrency < 1 || o.batch < 1 || o.window < 1 || o.connections < 1 || o.duration <= 0 || o.timeline <= 0 || o.rate < 0 {
		log.Fatal("load: --size, --concurrency, --batch, --window, --connections, --duration and --timeline must be positive, --rate not negative")
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memory)
	var record *record
	var err error
	if kind.stream {
		record, err = runStreams(o, kind)
	} else if o.rate > 0 {
		record = runAtRate(o, kind)
	} else {
		record = runCallers(o, kind)
	}
	if err != nil {
		log.Fatalf("load: %v", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(record.summary(o)); err != nil {
		log.Fatalf("load: %v", err)
	}
}
