// Hooks: what a program does around each call, such as tracing.

//go:build cgo

package rsscript

import (
	"context"
	"time"
)

// Hook is told of each call before it is made and when it is over, on the goroutine that makes it. It is called by
// many goroutines at once. What it does takes time of the call; what it panics with reaches the caller.
//
// The package rsotel, a module of its own, has one for OpenTelemetry.
type Hook interface {
	// Before is called before a call is made. The context that it gives is that of the call, so it should be made of
	// ctx.
	Before(ctx context.Context, call *CallInfo) context.Context
	// After is called when the call is over, with the context that Before has given.
	After(ctx context.Context, call *CallInfo, outcome *Outcome)
}

// CallInfo says what is called, and nothing of keys, arguments and sources. It must not be changed.
type CallInfo struct {
	// Operation is the command, such as SET or SCRIPT LOAD; of a script EVALSHA or EVALSHA_RO, of a function FCALL or
	// FCALL_RO, whatever it is sent as; PIPELINE; MULTI for a transaction.
	Operation string
	// Script is the name that the script was given with [Name], else its SHA1. Empty for all else.
	Script string
	// SHA is the script's SHA1.
	SHA string
	// Keys is the number of KEYS of a script; 0 for all else.
	Keys int
	// Args is the number of arguments, of a script without the keys.
	Args int
	// ReadOnly: it was called with [Script.CallRO], or [CallOptions] that say so.
	ReadOnly bool
	// Items is what is in a pipeline or transaction; nil for all else.
	Items []CallInfo
}

// Outcome says what became of a call.
type Outcome struct {
	// Err is the error of the call, nil where there is a reply. That of a pipeline's item is in Items.
	Err error
	// Items is the results of a pipeline or transaction, as far as they arrived.
	Items []Result
	// Duration is from before the call was made until it was over, with all its attempts, and with the wait for its
	// turn.
	Duration time.Duration
	// Node is the server that it was sent to last, host:port or the path of a socket; empty where it was sent to none.
	Node string
	// Attempts is how often it was put on a connection, its parts on several servers counted each; 0: nothing of it
	// was sent. What a connection sends again by itself because a script was lost is no attempt of its own.
	Attempts int
	// BytesSent is what was put on connections of it, scripts that were loaded for it among them; BytesReceived is
	// what came back.
	BytesSent, BytesReceived uint64
}

// WithHook has a hook told of each call. Of several the first is told first before a call, and last after it.
func WithHook(hook Hook) Option {
	return func(s *settings) *Error {
		if hook == nil {
			return refused(ErrInvalidOption, "the hook is nil")
		}
		s.hooks = append(s.hooks, hook)
		return nil
	}
}

// doWatched makes a call of which hooks are told, or which a fake answers.
func (h *Client) doWatched(ctx context.Context, c *call) {
	e := h.engine
	unpacked := c.packed.unpack()
	info := unpacked.info()
	contexts := make([]context.Context, len(e.hooks))
	start := time.Now()
	for i, hook := range e.hooks {
		if given := hook.Before(ctx, &info); given != nil {
			ctx = given
		}
		contexts[i] = ctx
	}
	if e.fake != nil {
		e.answer(ctx, c, &unpacked)
	} else {
		h.carry(ctx, c)
	}
	outcome := &Outcome{
		Err: c.result.Err(), Duration: time.Since(start), Node: c.cost.node, Attempts: c.cost.attempts,
		BytesSent: c.cost.sent, BytesReceived: c.cost.received,
	}
	if unpacked.isPipeline && len(e.hooks) > 0 {
		outcome.Items, _ = c.results()
	}
	for i := len(e.hooks) - 1; i >= 0; i-- {
		e.hooks[i].After(contexts[i], &info, outcome)
	}
}

// results are those of a pipeline's items, as far as they arrived, and the error of the whole.
func (c *call) results() ([]Result, error) {
	if err := c.result.Err(); err != nil {
		arrived, _ := c.arrived.Slice()
		return arrived, err
	}
	return c.result.Slice()
}
