// What a client tells of its connections: from the library's threads to a logger, which runs on a goroutine.

//go:build cgo

package rsscript

/*
#include <stdint.h>
#include <rs_script.h>
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/cgo"
	"sync"
	"time"
)

// mostEvents is how many may wait for a logger that is slow.
const mostEvents = 256

// eventLog keeps events until its logger has taken them. The library must neither wait for a logger nor be called by
// it on the thread that tells of an event: so the logger runs on a goroutine, which is there only while there are
// events.
type eventLog struct {
	mu         sync.Mutex
	logger     *slog.Logger
	waiting    []slog.Record
	lost       int
	delivering bool
	closed     bool
}

//export rsscriptHear
func rsscriptHear(handle C.uintptr_t, level C.int32_t, message *C.char, length C.size_t) {
	cgo.Handle(handle).Value().(*eventLog).hear(levelOf(level), C.GoStringN(message, C.int(length)))
}

//export rsscriptForget
func rsscriptForget(handle C.uintptr_t) { cgo.Handle(handle).Delete() }

func levelOf(level C.int32_t) slog.Level {
	switch level {
	case C.RS_LOG_LEVEL_ERROR:
		return slog.LevelError
	case C.RS_LOG_LEVEL_WARNING:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

func (l *eventLog) hear(level slog.Level, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return
	case len(l.waiting) == mostEvents:
		l.lost++
	default:
		l.waiting = append(l.waiting, slog.NewRecord(time.Now(), level, message, 0))
	}
	if !l.delivering {
		l.delivering = true
		go l.deliver()
	}
}

// deliver hands events over until there are none. Where the logger panics or ends the goroutine, that event is over,
// and another goroutine goes on.
func (l *eventLog) deliver() {
	finished := false
	defer func() {
		if !finished {
			_ = recover()
			go l.deliver()
		}
	}()
	for {
		logger, record := l.next()
		if logger == nil {
			finished = true
			return
		}
		ctx, handler := context.Background(), logger.Handler()
		if handler.Enabled(ctx, record.Level) {
			_ = handler.Handle(ctx, record)
		}
	}
}

// next takes the next event; without one there is no logger either.
func (l *eventLog) next() (*slog.Logger, slog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		record := l.waiting[0]
		l.waiting = l.waiting[1:]
		return l.logger, record
	}
	if l.lost > 0 {
		record := slog.NewRecord(time.Now(), slog.LevelWarn, fmt.Sprintf("%d more events were lost: the logger took too long", l.lost), 0)
		l.lost = 0
		return l.logger, record
	}
	l.waiting = nil
	l.delivering = false
	l.forget()
	return nil, slog.Record{}
}

// close has the logger forgotten once it has all events: one that knows the client would keep it from being collected.
func (l *eventLog) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.forget()
}

// forget lets go of a logger that is no longer needed; with mu held.
func (l *eventLog) forget() {
	if l.closed && !l.delivering {
		l.logger = nil
	}
}
