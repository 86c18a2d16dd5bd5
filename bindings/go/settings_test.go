// What settings hold for a client is let go of when they are freed.

package rsscript

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestSettingsLetGoOfTheirLogs(t *testing.T) {
	const count = 10
	var collected atomic.Int64
	watched := func(option Option) Option {
		return func(s *settings) *Error {
			defer func() { runtime.SetFinalizer(s.events, func(*eventLog) { collected.Add(1) }) }()
			return option(s)
		}
	}
	for range count {
		option := watched(WithLog(slog.Default()))
		settings, err := newSettings(context.Background(), []Option{option, option})
		if err != nil {
			t.Fatal(err)
		}
		settings.free()
		if _, err := newSettings(context.Background(), []Option{option, WithMaxInFlight(0)}); err == nil {
			t.Fatal("no calls in flight are none at all")
		}
	}
	for deadline := time.Now().Add(time.Minute); collected.Load() < 3*count; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d were collected", collected.Load(), 3*count)
		}
	}
}
