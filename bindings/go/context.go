// What a context has to do with a call: how long it may take, and what ended it.

//go:build cgo

package rsscript

import (
	"context"
	"errors"
	"math"
	"time"
)

// causeOf is what ended the context, also where its deadline has passed and its timer has not fired yet.
func causeOf(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			return context.DeadlineExceeded
		}
		return nil
	}
	if cause := context.Cause(ctx); cause != err {
		return &contextError{err, cause}
	}
	return err
}

// contextError is the error of a context that was ended with a cause: [errors.Is] and [errors.As] find both.
type contextError struct{ err, cause error }

func (e *contextError) Error() string { return e.err.Error() + ": " + e.cause.Error() }

func (e *contextError) Unwrap() []error { return []error{e.err, e.cause} }

// timeoutOf is the time up to the context's deadline in milliseconds, rounded up; 0 is the client's own.
func timeoutOf(ctx context.Context) (uint32, *Error) {
	if ctx.Err() != nil {
		return 0, ended(ctx)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0, ended(ctx)
	}
	return uint32(min(milliseconds(left), math.MaxUint32)), nil
}

// endsByItself tells whether the library ends a call of this context, which has ended, by itself, and says that its
// time was over: the context has told when that is. One made of another with a clock of its own may end sooner.
func endsByItself(ctx context.Context) bool {
	deadline, told := ctx.Deadline()
	return told && !time.Now().Before(deadline) && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// ended is the error of a call whose context had ended before.
func ended(ctx context.Context) *Error {
	err := refused(ErrCancelled, "the context was cancelled before the call was made; nothing was sent")
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = refused(ErrTimeout, "the context's deadline passed before the call was made; nothing was sent")
	}
	err.cause = causeOf(ctx)
	return err
}
