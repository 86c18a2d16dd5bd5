// What became of the calls of each script.

//go:build cgo

package rsscript

/*
#include <rs_script.h>
*/
import "C"

import (
	"context"
	"errors"
	"time"
)

// WithScriptStats keeps figures of so many scripts, and of all others together; see [Client.ScriptStats]. A script
// takes 21 KiB once it is called. Default: 0, none.
func WithScriptStats(maxScripts int) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_script_stats(o, C.size_t(max(maxScripts, 0)), err)
		})
	}
}

// ScriptStats is what became of the calls of a script since its client was opened.
type ScriptStats struct {
	// SHA is the script's SHA1; empty for all those together that were too many to be counted by themselves.
	SHA string
	// Name is what it was called with the option [Name].
	Name string
	// Calls that have ended, items of pipelines and transactions among them.
	Calls uint64
	// Loads is the SCRIPT LOADs of it that were sent, or the FUNCTION LOADs of its library.
	Loads uint64
	// Repairs is how often it was sent again because a server had lost it.
	Repairs uint64
	// Errors is the calls that ended with an error of any kind.
	Errors uint64
	// Indeterminate is those of them of which nobody knows whether they were executed.
	Indeterminate uint64
	// Latency is how long calls took that were no items of pipelines or transactions.
	Latency Latency
}

// Latency is how long calls took in the library, all their attempts and pauses together: to 1 %, from a microsecond
// to 100 seconds.
type Latency struct {
	Count uint64
	// Sum is what all of them took together.
	Sum time.Duration
	// P50 is the time within which half of them ended, P90 nine tenths, and so on; Max is the longest.
	P50, P90, P99, P999, Max time.Duration
	// Buckets are those that are not empty, the shortest first.
	Buckets []LatencyBucket
}

// LatencyBucket is how many calls took up to UpTo, and longer than those of the bucket before.
type LatencyBucket struct {
	UpTo  time.Duration
	Count uint64
}

// ScriptStats gives the figures of each script since the client was opened, those called most first; all that were
// too many stand last, without a SHA. Without [WithScriptStats] there are none. Nothing is sent, and hooks are not
// told.
func (c *Client) ScriptStats(ctx context.Context) ([]ScriptStats, error) {
	if c.isNone() {
		return nil, noClient()
	}
	if c.engine.fake != nil {
		return nil, errorOf(c.engine.closedFake())
	}
	call := callPool.Get().(*call)
	defer call.release()
	call.packed.head(packedScriptStats, 0)
	c.carry(ctx, call)
	elements, err := call.result.Slice()
	if err != nil {
		return nil, err
	}
	stats := make([]ScriptStats, len(elements))
	for i, element := range elements {
		if stats[i], err = scriptStatsOf(element); err != nil {
			return nil, err
		}
	}
	return stats, nil
}

func scriptStatsOf(element Result) (s ScriptStats, err error) {
	fields, err := element.Map()
	if err != nil {
		return s, err
	}
	latency, err := fields["latency"].Map()
	if err != nil {
		return s, err
	}
	for _, text := range []struct {
		key  string
		into *string
	}{{"sha", &s.SHA}, {"name", &s.Name}} {
		if *text.into, err = fields[text.key].Text(); err != nil && !errors.Is(err, ErrNil) {
			return s, err
		}
	}
	read := func(from Result, err error) (uint64, error) {
		if err != nil {
			return 0, err
		}
		n, err := from.Int64()
		return uint64(n), err
	}
	err = nil
	for _, number := range []struct {
		key  string
		into *uint64
	}{
		{"calls", &s.Calls}, {"loads", &s.Loads}, {"repairs", &s.Repairs}, {"errors", &s.Errors},
		{"indeterminate", &s.Indeterminate},
	} {
		*number.into, err = read(fields[number.key], err)
	}
	s.Latency.Count, err = read(latency["count"], err)
	for _, duration := range []struct {
		key  string
		into *time.Duration
	}{
		{"sum_us", &s.Latency.Sum}, {"p50_us", &s.Latency.P50}, {"p90_us", &s.Latency.P90}, {"p99_us", &s.Latency.P99},
		{"p999_us", &s.Latency.P999}, {"max_us", &s.Latency.Max},
	} {
		var us uint64
		us, err = read(latency[duration.key], err)
		*duration.into = time.Duration(us) * time.Microsecond
	}
	if err != nil {
		return s, err
	}
	pairs, err := latency["buckets"].Slice()
	for i := 0; i+1 < len(pairs) && err == nil; i += 2 {
		var bucket LatencyBucket
		var us uint64
		us, err = read(pairs[i], nil)
		bucket.UpTo = time.Duration(us) * time.Microsecond
		bucket.Count, err = read(pairs[i+1], err)
		s.Latency.Buckets = append(s.Latency.Buckets, bucket)
	}
	return s, err
}
