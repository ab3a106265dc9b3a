package main

import (
	"math"
	"sort"
	"sync"
	"syscall"
	"time"
)

// record is what came of a run.
type record struct {
	sync.Mutex
	begun     time.Time
	latencies []time.Duration
	refusals  []time.Duration
	delays    []time.Duration
	answers   []answer
	failures  map[string]int
}

// answer is when, since the beginning, so many values were acknowledged.
type answer struct {
	at     time.Duration
	values int
}

// newRecord has room for so many calls; more are no harm.
func newRecord(calls int) *record {
	durations := func() []time.Duration { return make([]time.Duration, 0, calls) }
	return &record{
		latencies: durations(), refusals: durations(), delays: durations(), answers: make([]answer, 0, calls),
		failures: map[string]int{}, begun: time.Now(),
	}
}

// late notes how much later than due a call is made.
func (r *record) late(due time.Time) {
	now := time.Now()
	r.Lock()
	defer r.Unlock()
	r.delays = append(r.delays, now.Sub(due))
}

func (r *record) answered(began time.Time, values int) {
	now := time.Now()
	r.Lock()
	defer r.Unlock()
	r.latencies = append(r.latencies, now.Sub(began))
	r.answers = append(r.answers, answer{now.Sub(r.begun), values})
}

func (r *record) failed(began time.Time, reason string) {
	now := time.Now()
	r.Lock()
	defer r.Unlock()
	r.refusals = append(r.refusals, now.Sub(began))
	r.failures[reason]++
}

// summary is what is printed: times are in milliseconds, but where their name says otherwise. A gap is a time without
// an answer, be it at the beginning or at the end; of the longest gaps there is when they began and how long they were.
type summary struct {
	Began       float64        `json:"began_unix_seconds"`
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
	Gaps        [][2]float64   `json:"gaps_ms"`
	Quantiles   []float64      `json:"quantiles_ms"`
	Timeline    []int          `json:"timeline"`
	Bin         float64        `json:"timeline_ms"`
	Failures    map[string]int `json:"failures"`
	FailedP50   float64        `json:"failed_p50_ms"`
	FailedP99   float64        `json:"failed_p99_ms"`
	LateP99     float64        `json:"late_p99_ms"`
	CPU         float64        `json:"cpu_seconds"`
}

// quantiles is into how many parts the latencies are cut.
const quantiles = 200

// gaps is how many of the longest are told.
const gaps = 100

func (r *record) summary(o options) summary {
	r.Lock()
	defer r.Unlock()
	seconds := o.duration.Seconds()
	s := summary{
		Request: o.request, Concurrency: o.concurrency, Size: o.size, Seconds: seconds, Failures: r.failures,
		Began: float64(r.begun.UnixNano()) / float64(time.Second), CPU: cpuSeconds(),
		Bin: milliseconds(o.timeline), Timeline: make([]int, int(o.duration/o.timeline)+1), Quantiles: []float64{},
	}
	sortDurations(r.latencies)
	sortDurations(r.refusals)
	sortDurations(r.delays)
	sort.Slice(r.answers, func(i, j int) bool { return r.answers[i].at < r.answers[j].at })
	before := time.Duration(0)
	for _, answer := range r.answers {
		s.Gaps = append(s.Gaps, gap(before, answer.at))
		before = answer.at
		if answer.at > o.duration { // What was under way at the end is no part of the rate.
			continue
		}
		s.Values += answer.values
		s.Timeline[int(answer.at/o.timeline)] += answer.values
	}
	s.Gaps = append(s.Gaps, gap(before, o.duration))
	sort.Slice(s.Gaps, func(i, j int) bool { return s.Gaps[i][1] > s.Gaps[j][1] })
	s.Gap = s.Gaps[0][1]
	if len(s.Gaps) > gaps {
		s.Gaps = s.Gaps[:gaps]
	}
	s.PerSecond = float64(s.Values) / seconds
	s.P50, s.P90 = quantile(r.latencies, 0.5), quantile(r.latencies, 0.9)
	s.P99, s.Max = quantile(r.latencies, 0.99), quantile(r.latencies, 1)
	s.FailedP50, s.FailedP99 = quantile(r.refusals, 0.5), quantile(r.refusals, 0.99)
	s.LateP99 = quantile(r.delays, 0.99)
	for each := 0; each <= quantiles && len(r.latencies) > 0; each++ {
		s.Quantiles = append(s.Quantiles, quantile(r.latencies, float64(each)/quantiles))
	}
	return s
}

func sortDurations(all []time.Duration) {
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
}

func gap(from, to time.Duration) [2]float64 {
	return [2]float64{milliseconds(from), math.Max(0, milliseconds(to-from))}
}

// quantile of what is sorted; 0 if there is nothing.
func quantile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return milliseconds(sorted[int(part*float64(len(sorted)-1))])
}

// cpuSeconds is what this process has used, in user and in kernel mode.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / float64(time.Second)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
