// How calls get to the native library and their replies back: in batches, with one crossing into C for each.
//
// A goroutine packs its call and puts it into the open batch of its client handle. Whoever finds no batch under way
// submits it; what gathers meanwhile goes with the next. The queue has no thread: poller.go says which goroutine
// waits for its descriptor, takes completions out as bytes and wakes the callers.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static void rsscript_cancel(rs_client *client, rs_queue *queue, size_t count, const uint64_t *tags) {
	for (size_t i = 0; i < count; i++) rs_client_cancel(client, queue, tags[i], NULL, NULL);
}
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/rs-script/rs_script/bindings/go/internal/fake"
)

// engine is what all handles of a client share.
type engine struct {
	queue  *C.rs_queue
	poller poller
	// Is held for reading by whoever uses queue, and for writing to free it.
	life  sync.RWMutex
	freed bool
	// Nil where nobody is told.
	events *eventLog
	// Nil where nobody is asked.
	login *login
	// Nil where nobody is told of calls.
	hooks []Hook
	// Present where a test answers in place of servers. There is no queue and no poller then.
	fake fake.Answer

	mu     sync.Mutex
	closed bool
	// Calls to be called off, and whether a goroutine does that.
	cancels    []uint64
	cancelling bool
	room       room
	calls      []*call
	free       []uint32
	serial     uint64
	idle       chan struct{} // closed by the call that leaves a closed engine last
	closeDone  chan struct{}
}

// call is one that a goroutine waits for; it is used again for another afterwards.
type call struct {
	packed packed
	tag    uint64
	batch  uint64
	done   chan struct{}

	result  Result
	arrived Result
	cost    cost
}

// cost is what the library has spent on a call, where hooks want to know.
type cost struct {
	node           string
	attempts       int
	sent, received uint64
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func (c *call) release() {
	if cap(c.packed.buf) > 64<<10 {
		c.packed.buf = nil
	}
	c.packed.reset()
	c.result, c.arrived, c.cost = Result{}, Result{}, cost{}
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
	e := &engine{
		events: settings.events, login: settings.login, hooks: settings.hooks,
		idle: make(chan struct{}), closeDone: make(chan struct{}),
	}
	e.room.capacity, e.room.failsFull = settings.maxInFlight, settings.failsFull
	e.room.longest = settings.callTimeout
	// Where Go's poller takes only descriptors of other kinds, the library's thread does the work and polling is
	// taking out.
	err := e.newQueue(C.RS_QUEUE_NO_THREAD)
	if err != nil && err.Status == ErrInternal {
		err = e.newQueue(0)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *engine) newQueue(flags C.uint32_t) *Error {
	var native *C.rs_error
	if C.rs_queue_new(C.size_t(e.room.capacity), flags, &e.queue, &native) != C.RS_OK {
		return takeError(native)
	}
	C.rs_queue_set_packed_details(e.queue, true)
	if err := e.startPolling(); err != nil {
		C.rs_queue_free(e.queue)
		return refused(ErrInternal, fmt.Sprintf("the queue's descriptor cannot be waited for: %v; nothing was sent", err))
	}
	return nil
}

// A tag is the call's place below these bits and a serial number above, so that no two calls ever have the same.
const placeBits = 24

// do makes a call and waits for it. The caller releases the call.
func (h *Client) do(ctx context.Context, c *call) {
	if h.isNone() {
		c.result = failed(noClient())
		return
	}
	if e := h.engine; e.hooks != nil || e.fake != nil {
		h.doWatched(ctx, c)
		return
	}
	h.carry(ctx, c)
}

// carry has the library make a call.
func (h *Client) carry(ctx context.Context, c *call) {
	polls, err := h.enqueue(ctx, c)
	if err != nil {
		c.result = failed(err)
		return
	}
	ended := ctx.Done()
	switch {
	case polls && ended == nil:
		h.pollFor(c)
	case polls:
		which := unsent{c.tag, c.batch}
		stop := context.AfterFunc(ctx, func() { h.callOffFor(ctx, which) })
		h.pollFor(c)
		stop()
	}
	if ended == nil {
		<-c.done
	} else {
		select {
		case <-c.done:
		case <-ended:
			h.callOffFor(ctx, unsent{c.tag, c.batch})
			<-c.done
		}
	}
	// A client that nobody has any more is closed: not while this call goes on.
	runtime.KeepAlive(h)
	if err := c.result.err; err != nil && err.mayBeOfContext() {
		err.cause = causeOf(ctx)
	}
}

func closedError() *Error { return refused(ErrClosed, "the client is closed; nothing was sent") }

// enqueue has a call submitted, or says that the caller is to do that, and to poll.
func (h *Client) enqueue(ctx context.Context, c *call) (polls bool, _ *Error) {
	e, l := h.engine, &h.lane
	timeout, err := timeoutOf(ctx)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false, closedError()
	}
	if !e.room.enter() {
		// Of its time as much is left as the wait leaves.
		if timeout, err = e.waitForRoom(ctx); err != nil {
			e.mu.Unlock()
			return false, err
		}
	}
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
	alone := e.room.inFlight == 1
	polls = e.poller.enter(leads && alone)
	e.mu.Unlock()
	if leads && !polls {
		if !alone {
			h.letJoin()
		}
		h.submitAll()
	}
	return polls, nil
}

// submitAll sends the open batch. A few calls that gather meanwhile it sends as well: to start a goroutine for them
// takes as long, and wakes a thread. All others are another goroutine's, so that no caller is kept by them for long.
func (h *Client) submitAll() {
	const few = 4
	left := h.submit()
	if 0 < left && left < few {
		left = h.submit()
	}
	if left == 0 {
		return
	}
	go func() {
		for h.submit() > 0 {
			h.letJoin()
		}
	}()
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

// submit sends the open batch. How many calls have gathered meanwhile, which are then for the caller to send.
func (h *Client) submit() int {
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
	gathered := len(l.open.calls)
	l.submitting = gathered > 0
	leads := e.toCancel(tags...)
	e.mu.Unlock()
	if leads {
		h.cancelAll()
	}
	return gathered
}

func (h *Client) submitBatch(b *batch) *Error {
	e := h.engine
	e.life.RLock()
	defer e.life.RUnlock()
	// Never nil, even where there are none.
	pointers := append(b.pointers[:0], nil)[:0]
	for _, script := range b.scripts {
		pointers = append(pointers, script.pointer)
	}
	b.pointers = pointers
	var native *C.rs_error
	status := C.rs_client_submit_packed(h.native.pointer, C.size_t(len(pointers)), unsafe.SliceData(pointers),
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
	e.freePlace()
	return c
}

// callOffFor has a call completed at once whose context has ended. Its completion says whether it may have been
// executed. It may be over already.
func (h *Client) callOffFor(ctx context.Context, c unsent) {
	if endsByItself(ctx) {
		return
	}
	e, l := h.engine, &h.lane
	e.mu.Lock()
	if c.batch > l.sentNumber {
		l.callOff = append(l.callOff, c)
		e.mu.Unlock()
		return
	}
	leads := e.toCancel(c.tag)
	e.mu.Unlock()
	if leads {
		// A context often has many calls.
		runtime.Gosched()
		h.cancelAll()
	}
}

// toCancel has calls called off; whether the caller is to do that. With mu held.
func (e *engine) toCancel(tags ...uint64) bool {
	e.cancels = append(e.cancels, tags...)
	leads := !e.cancelling && len(e.cancels) > 0
	e.cancelling = e.cancelling || leads
	return leads
}

// cancelAll calls off what has gathered; what gathers meanwhile is another goroutine's.
func (h *Client) cancelAll() {
	if h.cancelSome() {
		go func() {
			for h.cancelSome() {
			}
		}()
	}
}

// cancelSome is one round of it, with one crossing into C. Whether there is another for the caller to do.
func (h *Client) cancelSome() bool {
	e := h.engine
	e.mu.Lock()
	tags := e.cancels
	e.cancels = nil
	e.mu.Unlock()
	e.life.RLock()
	if !e.freed {
		C.rsscript_cancel(h.native.pointer, e.queue, C.size_t(len(tags)), (*C.uint64_t)(unsafe.SliceData(tags)))
		runtime.KeepAlive(h.native)
	}
	e.life.RUnlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancelling = len(e.cancels) > 0
	return e.cancelling
}

// dispatch wakes the callers of completions. Their replies may keep the bytes if those are their own.
func (e *engine) dispatch(in *inbox, bytes []byte, isOwn bool) {
	if len(bytes) == 0 {
		return
	}
	in.calls = in.calls[:0]
	e.mu.Lock()
	for rest := bytes; len(rest) > 0; {
		in.calls = append(in.calls, e.remove(native.Uint64(rest[4:])))
		rest = rest[4+native.Uint32(rest):]
	}
	e.poller.count(len(in.calls), e.room.inFlight)
	e.mu.Unlock()
	for i, c := range in.calls {
		size := native.Uint32(bytes)
		c.take(bytes[12:4+size], isOwn)
		bytes = bytes[4+size:]
		in.calls[i] = nil
		c.done <- struct{}{}
	}
}

// take reads what became of a call: status, flags, and a reply or an error. What it keeps of the bytes it copies,
// unless they are its own.
func (c *call) take(bytes []byte, isOwn bool) {
	status := Status(int32(native.Uint32(bytes)))
	flags := bytes[4]
	bytes = bytes[5:]
	if status == 0 && flags == 0 {
		switch Kind(bytes[0]) {
		case KindInteger:
			c.result = Result{kind: KindInteger, n: int64(native.Uint64(bytes[1:]))}
			return
		case KindNil:
			c.result = Result{kind: KindNil}
			return
		}
	}
	r := reader{}
	if isOwn {
		r.rest = unsafe.String(unsafe.SliceData(bytes), len(bytes))
	} else {
		r.rest = string(bytes)
	}
	if status == 0 {
		c.result = r.reply()
	} else {
		err := r.failure(status, flags)
		c.result = failed(err)
		if flags&packedArrived != 0 {
			// It may be kept for long, and is not to keep the replies.
			err.ServerCode, err.Message, err.Node =
				strings.Clone(err.ServerCode), strings.Clone(err.Message), strings.Clone(err.Node)
			c.arrived = r.reply()
		}
	}
	if flags&packedCost != 0 {
		c.cost = r.cost()
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
	e.sendAway()
	if e.room.inFlight == 0 {
		close(e.idle)
	}
	e.mu.Unlock()
	if e.fake != nil {
		close(e.closeDone)
		return
	}
	closeClient()
	<-e.idle
	e.poller.stop()
	e.life.Lock()
	C.rs_queue_free(e.queue)
	e.freed = true
	e.life.Unlock()
	close(e.closeDone)
}
