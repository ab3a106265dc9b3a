package main

import (
	"sort"
	"sync"
	"time"
)

// record is what came of a run.
type record struct {
	sync.Mutex
	begun     time.Time
	latencies []time.Duration
	answers   []answer
	failures  map[string]int
}

// answer is when, since the beginning, so many values were acknowledged.
type answer struct {
	at     time.Duration
	values int
}

func newRecord() *record { return &record{begun: time.Now(), failures: map[string]int{}} }

func (r *record) answered(began time.Time, values int) {
	now := time.Now()
	r.Lock()
	defer r.Unlock()
	r.latencies = append(r.latencies, now.Sub(began))
	r.answers = append(r.answers, answer{now.Sub(r.begun), values})
}

func (r *record) failed(reason string) {
	r.Lock()
	defer r.Unlock()
	r.failures[reason]++
}

// summary is what is printed: times are in milliseconds.
type summary struct {
	Request     string         `json:"request"`
	Concurrency int            `json:"concurrency"`
	Size        int            `json:"size"`
	Seconds     float64        `json:"seconds"`
	Values      int            `json:"values"`
	PerSecond   float64        `json:"per_second"`
	P50         float64        `json:"p50_ms"`
	P90         float64        `json:"p90_ms"`
	P99         float64        `json:"p99_ms"`
	Max         float64        `json:"max_ms"`
	Gap         float64        `json:"gap_ms"`
	Quantiles   []float64      `json:"quantiles_ms"`
	Timeline    []int          `json:"timeline"`
	Bin         float64        `json:"timeline_ms"`
	Failures    map[string]int `json:"failures"`
}

// quantiles is into how many parts the latencies are cut.
const quantiles = 200

func (r *record) summary(o options) summary {
	r.Lock()
	defer r.Unlock()
	seconds := o.duration.Seconds()
	s := summary{
		Request: o.request, Concurrency: o.concurrency, Size: o.size, Seconds: seconds, Failures: r.failures,
		Bin: milliseconds(o.timeline), Timeline: make([]int, int(o.duration/o.timeline)+1), Quantiles: []float64{},
	}
	sort.Slice(r.latencies, func(i, j int) bool { return r.latencies[i] < r.latencies[j] })
	sort.Slice(r.answers, func(i, j int) bool { return r.answers[i].at < r.answers[j].at })
	before := time.Duration(0)
	for _, answer := range r.answers {
		if gap := milliseconds(answer.at - before); gap > s.Gap {
			s.Gap = gap
		}
		before = answer.at
		if answer.at > o.duration { // What was under way at the end is no part of the rate.
			continue
		}
		s.Values += answer.values
		s.Timeline[int(answer.at/o.timeline)] += answer.values
	}
	s.PerSecond = float64(s.Values) / seconds
	s.P50, s.P90, s.P99, s.Max = r.quantile(0.5), r.quantile(0.9), r.quantile(0.99), r.quantile(1)
	for each := 0; each <= quantiles && len(r.latencies) > 0; each++ {
		s.Quantiles = append(s.Quantiles, r.quantile(float64(each)/quantiles))
	}
	return s
}

func (r *record) quantile(part float64) float64 {
	if len(r.latencies) == 0 {
		return 0
	}
	return milliseconds(r.latencies[int(part*float64(len(r.latencies)-1))])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
