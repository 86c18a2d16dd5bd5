// How calls get to the native library and their replies back: in batches, with one crossing into C for each.
//
// A goroutine packs its call and puts it into the open batch of its client handle. Whoever finds no batch under way submits it; what gathers meanwhile
// goes with the next. One goroutine waits for the queue's descriptor, in Go's own poller and not in C, takes completions out as bytes
// and wakes the callers. So no thread waits for a call, whatever the number of callers.

//go:build cgo

package rsscript

/*
#include <rs_script.h>
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// engine is what all handles of a client share.
type engine struct {
	queue *C.rs_queue
	// A duplicate of the queue's descriptor, known to Go's poller.
	signal *os.File
	// Is held for reading by whoever uses queue, and for writing to free it.
	life  sync.RWMutex
	freed bool
	// One goroutine at a time calls calls off: each may have to wait inside C, on a thread.
	cancelling sync.Mutex
	readerDone chan struct{}
	// Nil where nobody is told.
	events *eventLog

	mu        sync.Mutex
	closed    bool
	capacity  int
	calls     []*call
	free      []uint32
	serial    uint64
	inFlight  int
	idle      chan struct{} // closed by the call that leaves a closed engine last
	closeDone chan struct{}
}

// call is one that a goroutine waits for; it is used again for another afterwards.
type call struct {
	packed packed
	tag    uint64
	batch  uint64
	done   chan struct{}

	result  Result
	arrived Result
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func (c *call) release() {
	if cap(c.packed.buf) > 64<<10 {
		c.packed.buf = nil
	}
	c.packed.reset()
	c.result, c.arrived = Result{}, Result{}
	callPool.Put(c)
}

// lane is where calls of one client handle gather; guarded by the engine's mu.
type lane struct {
	open  *batch
	spare *batch
	// The number of the open batch, and of the last that was submitted.
	openNumber, sentNumber uint64
	submitting             bool
	// Calls to be called off as soon as their batch has been submitted.
	callOff []unsent
}

type unsent struct{ tag, batch uint64 }

func newEngine(settings *settings) (*engine, *Error) {
	e := &engine{capacity: settings.maxInFlight, events: settings.events, readerDone: make(chan struct{}), idle: make(chan struct{}), closeDone: make(chan struct{})}
	var native *C.rs_error
	if C.rs_queue_new(C.size_t(e.capacity), &e.queue, &native) != C.RS_OK {
		return nil, takeError(native)
	}
	C.rs_queue_set_packed_details(e.queue, true)
	fd, err := duplicate(int(C.rs_queue_fd(e.queue)))
	if err == nil {
		e.signal = os.NewFile(uintptr(fd), "rs_queue")
		var conn syscall.RawConn
		if conn, err = e.signal.SyscallConn(); err == nil {
			// Nothing waits for a deadline here; it tells whether Go's poller takes the descriptor.
			err = e.signal.SetDeadline(time.Time{})
		}
		if err == nil {
			go e.read(conn)
			return e, nil
		}
		e.signal.Close()
	}
	C.rs_queue_free(e.queue)
	return nil, refused(ErrInternal, fmt.Sprintf("the queue's descriptor cannot be waited for: %v; nothing was sent", err))
}

func duplicate(fd int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	copied, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(copied)
	}
	return copied, err
}

// A tag is the call's place below these bits and a serial number above, so that no two calls ever have the same.
const placeBits = 24

// do makes a call and waits for it. The caller releases the call.
func (h *Client) do(ctx context.Context, c *call) {
	timeout, err := timeoutOf(ctx)
	if err == nil {
		err = h.enqueue(c, timeout)
	}
	if err != nil {
		c.result = failed(err)
		return
	}
	done := ctx.Done()
	if done == nil {
		<-c.done
		return
	}
	select {
	case <-c.done:
	case <-done:
		// At its deadline the library ends the call by itself, and says so.
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			h.callOff(c)
		}
		<-c.done
	}
	if err := c.result.err; err != nil && err.mayBeOfContext() {
		err.cause = causeOf(ctx)
	}
}

// causeOf is what ended the context, also where its deadline has passed and its timer has not fired yet.
func causeOf(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// timeoutOf is the time up to the context's deadline in milliseconds, rounded up; 0 is the client's own.
func timeoutOf(ctx context.Context) (uint32, *Error) {
	if err := ctx.Err(); err != nil {
		return 0, ended(err)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0, ended(context.DeadlineExceeded)
	}
	return uint32(min((left+time.Millisecond-1)/time.Millisecond, math.MaxUint32)), nil
}

// ended is the error of a call whose context had ended before.
func ended(cause error) *Error {
	err := refused(ErrCancelled, "the context was cancelled before the call was made; nothing was sent")
	if errors.Is(cause, context.DeadlineExceeded) {
		err = refused(ErrTimeout, "the context's deadline passed before the call was made; nothing was sent")
	}
	err.cause = cause
	return err
}

func closedError() *Error { return refused(ErrClosed, "the client is closed; nothing was sent") }

func (h *Client) enqueue(c *call, timeout uint32) *Error {
	e, l := h.engine, &h.lane
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return closedError()
	}
	if e.inFlight == e.capacity {
		e.mu.Unlock()
		return refused(ErrQueueFull, fmt.Sprintf("%d calls are in flight already, which is the limit; nothing was sent", e.capacity))
	}
	e.inFlight++
	e.serial++
	if n := len(e.free); n > 0 {
		place := e.free[n-1]
		e.free = e.free[:n-1]
		e.calls[place] = c
		c.tag = e.serial<<placeBits | uint64(place)
	} else {
		c.tag = e.serial<<placeBits | uint64(len(e.calls))
		e.calls = append(e.calls, c)
	}
	if l.open == nil {
		l.open, l.spare = new(batch), new(batch)
		l.openNumber = 1
	}
	l.open.add(c, timeout)
	c.batch = l.openNumber
	leads := !l.submitting
	l.submitting = true
	alone := e.inFlight == 1
	e.mu.Unlock()
	if leads {
		if !alone {
			h.letJoin()
		}
		if h.submit() {
			go func() {
				for h.submit() {
					h.letJoin()
				}
			}()
		}
	}
	return nil
}

// letJoin gives others that are ready to call the time to join the open batch, as long as that makes it grow.
func (h *Client) letJoin() {
	const worthwhile = 8
	for before := 0; ; {
		runtime.Gosched()
		h.engine.mu.Lock()
		now := len(h.lane.open.calls)
		h.engine.mu.Unlock()
		if now-before < worthwhile {
			return
		}
		before = now
	}
}

// submit sends the open batch. Whether another has gathered meanwhile, which is then for the caller to send.
func (h *Client) submit() bool {
	e, l := h.engine, &h.lane
	e.mu.Lock()
	b := l.open
	l.open, l.spare = l.spare, nil
	number := l.openNumber
	l.openNumber++
	e.mu.Unlock()

	err := h.submitBatch(b)
	if err != nil {
		e.complete(b.calls, err)
	}
	b.reset()

	e.mu.Lock()
	l.spare = b
	l.sentNumber = number
	var tags []uint64
	left := l.callOff[:0]
	for _, c := range l.callOff {
		if c.batch > number {
			left = append(left, c)
		} else {
			tags = append(tags, c.tag)
		}
	}
	l.callOff = left
	more := len(l.open.calls) > 0
	l.submitting = more
	e.mu.Unlock()
	for _, tag := range tags {
		h.cancel(tag)
	}
	return more
}

func (h *Client) submitBatch(b *batch) *Error {
	e := h.engine
	e.life.RLock()
	defer e.life.RUnlock()
	scripts := make([]*C.rs_script, len(b.scripts), len(b.scripts)+1)
	for i, script := range b.scripts {
		scripts[i] = script.pointer
	}
	var native *C.rs_error
	status := C.rs_client_submit_packed(h.native.pointer, C.size_t(len(scripts)), unsafe.SliceData(scripts),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(b.buf))), C.size_t(len(b.buf)), e.queue, &native)
	runtime.KeepAlive(b.scripts)
	runtime.KeepAlive(h.native)
	if status != C.RS_OK {
		return takeError(native)
	}
	return nil
}

// complete ends calls that were not accepted.
func (e *engine) complete(calls []*call, err *Error) {
	for _, c := range calls {
		own := *err
		c.result = failed(&own)
	}
	e.mu.Lock()
	for _, c := range calls {
		e.remove(c.tag)
	}
	e.mu.Unlock()
	for _, c := range calls {
		c.done <- struct{}{}
	}
}

// remove takes the call out that has been completed; with mu held.
func (e *engine) remove(tag uint64) *call {
	place := uint32(tag & (1<<placeBits - 1))
	c := e.calls[place]
	e.calls[place] = nil
	e.free = append(e.free, place)
	e.inFlight--
	if e.closed && e.inFlight == 0 {
		close(e.idle)
	}
	return c
}

// callOff has a call completed at once. Its completion says whether it may have been executed.
func (h *Client) callOff(c *call) {
	e, l := h.engine, &h.lane
	e.mu.Lock()
	if c.batch > l.sentNumber {
		l.callOff = append(l.callOff, unsent{c.tag, c.batch})
		e.mu.Unlock()
		return
	}
	tag := c.tag
	e.mu.Unlock()
	h.cancel(tag)
}

func (h *Client) cancel(tag uint64) {
	e := h.engine
	e.cancelling.Lock()
	defer e.cancelling.Unlock()
	e.life.RLock()
	defer e.life.RUnlock()
	if !e.freed {
		C.rs_client_cancel(h.native.pointer, e.queue, C.uint64_t(tag), nil, nil)
		runtime.KeepAlive(h.native)
	}
}

// The buffer for completions. Where one alone needs more, it gets one of its own.
const (
	readBuffer = 256 << 10
	readMax    = 1024
)

// read takes completions out until the engine is closed and nothing is in flight.
func (e *engine) read(conn syscall.RawConn) {
	defer close(e.readerDone)
	inbox := &inbox{buf: make([]byte, readBuffer)}
	// Go's poller tells of an edge. None is lost within one Read, whose function is called again after each.
	_ = conn.Read(func(uintptr) bool {
		for e.poll(inbox) {
		}
		return false
	})
}

type inbox struct {
	buf   []byte
	calls []*call
	// What C writes to; no Go pointers are near.
	counts *pollCounts
}

type pollCounts struct{ used, count, needed C.size_t }

// poll takes out what fits. Whether there may be more.
func (e *engine) poll(in *inbox) bool {
	if in.counts == nil {
		in.counts = new(pollCounts)
	}
	n := in.counts
	status := C.rs_queue_poll_packed(e.queue, (*C.char)(unsafe.Pointer(unsafe.SliceData(in.buf))), C.size_t(len(in.buf)), readMax, 0,
		&n.used, &n.count, &n.needed, nil)
	if status != C.RS_OK {
		panic("rsscript: the queue cannot be read: " + statusName(Status(status)))
	}
	isFull, needed := n.count == readMax, int(n.needed)
	e.dispatch(in, in.buf[:n.used])
	if needed > len(in.buf) {
		small := in.buf
		in.buf = make([]byte, needed)
		more := e.poll(in)
		in.buf = small
		return more
	}
	return isFull || needed > 0
}

// dispatch wakes the callers of completions.
func (e *engine) dispatch(in *inbox, bytes []byte) {
	in.calls = in.calls[:0]
	e.mu.Lock()
	for rest := bytes; len(rest) > 0; {
		in.calls = append(in.calls, e.remove(native.Uint64(rest[4:])))
		rest = rest[4+native.Uint32(rest):]
	}
	e.mu.Unlock()
	for i, c := range in.calls {
		size := native.Uint32(bytes)
		c.take(bytes[12 : 4+size])
		bytes = bytes[4+size:]
		in.calls[i] = nil
		c.done <- struct{}{}
	}
}

// take reads what became of a call: status, flags, and a reply or an error.
func (c *call) take(bytes []byte) {
	status := Status(int32(native.Uint32(bytes)))
	flags := bytes[4]
	bytes = bytes[5:]
	if status == 0 {
		switch Kind(bytes[0]) {
		case KindInteger:
			c.result = Result{kind: KindInteger, n: int64(native.Uint64(bytes[1:]))}
			return
		case KindNil:
			c.result = Result{kind: KindNil}
			return
		}
	}
	r := reader{string(bytes)}
	if status == 0 {
		c.result = r.reply()
		return
	}
	c.result = failed(r.failure(status, flags))
	if flags&packedArrived != 0 {
		c.arrived = r.reply()
	}
}

// close ends everything, and returns when nothing of it is left.
func (e *engine) close(closeClient func()) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		<-e.closeDone
		return
	}
	e.closed = true
	if e.inFlight == 0 {
		close(e.idle)
	}
	e.mu.Unlock()
	closeClient()
	<-e.idle
	e.signal.Close()
	<-e.readerDone
	e.life.Lock()
	C.rs_queue_free(e.queue)
	e.freed = true
	e.life.Unlock()
	close(e.closeDone)
}
