package main

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

// pause is how long a caller waits before it calls the next server after a failure.
const pause = 2 * time.Millisecond

func reason(err error) string { return status.Code(err).String() }

// runCallers has each caller call again as soon as it has its answer.
func runCallers(o options, kind kind) *record {
	servers := connect(o)
	record := newRecord(0)
	end := record.begun.Add(o.duration)
	var number uint64
	var callers sync.WaitGroup
	var next func(caller uint64)
	next = func(caller uint64) {
		began := time.Now()
		if !began.Before(end) {
			callers.Done()
			return
		}
		servers.call(caller, kind, kind.encode(atomic.AddUint64(&number, 1), o.size, o.batch), func(err error) {
			if err != nil {
				record.failed(began, reason(err))
				time.AfterFunc(pause, func() { next(caller) })
			} else {
				record.answered(began, 1)
				next(caller)
			}
		})
	}
	callers.Add(o.concurrency)
	for each := 0; each < o.concurrency; each++ {
		next(uint64(each))
	}
	callers.Wait()
	return record
}

// runAtRate calls at a steady rate, and counts latency from when a call was due.
func runAtRate(o options, kind kind) *record {
	servers := connect(o)
	total := int(o.rate * o.duration.Seconds())
	record := newRecord(total)
	var calls sync.WaitGroup
	calls.Add(total)
	for each := 0; each < total; each++ {
		due := record.begun.Add(time.Duration(float64(each) / o.rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		record.late(due)
		number := uint64(each)
		servers.call(number, kind, kind.encode(number, o.size, o.batch), func(err error) {
			if err != nil {
				record.failed(due, reason(err))
			} else {
				record.answered(due, 1)
			}
			calls.Done()
		})
	}
	calls.Wait()
	return record
}
