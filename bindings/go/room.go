// How many calls are in flight: one beyond the limit waits for its turn.

//go:build cgo

package rsscript

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"time"
)

// room counts the calls in flight. All of it is guarded by the engine's mu.
type room struct {
	capacity  int
	inFlight  int
	failsFull bool
	// How long a call may wait whose context has no deadline.
	longest time.Duration
	// Of *waiter. First come, first served.
	waiting list.List
}

// waiter is a call that there was no room for.
type waiter struct {
	over     chan struct{} // closed when it has a place, or when the client is closed
	hasPlace bool
}

// enter takes a place for a call, if there is one.
func (r *room) enter() bool {
	if r.inFlight == r.capacity {
		return false
	}
	r.inFlight++
	return true
}

// waitForRoom waits for a place, and gives what is then left of the call's time; with an error there is no place.
// With mu held, which is let go of meanwhile.
func (e *engine) waitForRoom(ctx context.Context) (timeout uint32, err *Error) {
	r := &e.room
	if r.failsFull {
		text := fmt.Sprintf("%d calls are in flight already, which is the limit; nothing was sent", r.capacity)
		return 0, refused(ErrQueueFull, text)
	}
	w := &waiter{over: make(chan struct{})}
	mine := r.waiting.PushBack(w)
	e.mu.Unlock()
	if _, told := ctx.Deadline(); told {
		select {
		case <-w.over:
		case <-ctx.Done():
		}
		timeout, err = timeoutOf(ctx)
	} else {
		timeout, err = r.waitWithin(ctx, w)
	}
	e.mu.Lock()
	if e.closed {
		err = closedError()
	}
	switch {
	case err == nil:
	case w.hasPlace:
		e.freePlace()
	default:
		r.waiting.Remove(mine) // Does nothing where it is out already.
	}
	return timeout, err
}

// waitWithin waits for a place within the client's own time, and gives what is then left of that.
func (r *room) waitWithin(ctx context.Context, w *waiter) (uint32, *Error) {
	end := time.Now().Add(r.longest)
	timer := time.NewTimer(r.longest)
	defer timer.Stop()
	select {
	case <-w.over:
	case <-ctx.Done():
	case <-timer.C:
	}
	if _, err := timeoutOf(ctx); err != nil {
		return 0, err
	}
	left := time.Until(end)
	if left <= 0 {
		return 0, refused(ErrTimeout, "the call's time was over before it was its turn; nothing was sent")
	}
	return uint32(min(milliseconds(left), math.MaxUint32)), nil
}

// freePlace gives a call's place to who has waited longest, or back. With mu held.
func (e *engine) freePlace() {
	r := &e.room
	if longest := r.waiting.Front(); longest != nil {
		w := r.waiting.Remove(longest).(*waiter)
		w.hasPlace = true
		close(w.over)
		return
	}
	r.inFlight--
	if e.closed && r.inFlight == 0 {
		close(e.idle)
	}
}

// sendAway ends the waiting of all; the engine is closed. With mu held.
func (e *engine) sendAway() {
	waiting := &e.room.waiting
	for first := waiting.Front(); first != nil; first = waiting.Front() {
		close(waiting.Remove(first).(*waiter).over)
	}
}
