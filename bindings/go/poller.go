// Who polls the queue, which has no thread of its own: one goroutine at a time waits for its descriptor, in Go's own
// poller and not in C.
//
// A caller that is alone submits and polls by itself: nobody need be woken for its reply. Where others call as well,
// a goroutine of the client's own, the reader, polls for all. It takes over from a caller when that leaves others
// behind or waits for long, and where nobody calls; and it leaves when for some time all calls have been alone.

package rsscript

/*
#include <poll.h>
#include <rs_script.h>

// Takes completions out: bytes, number and what the next one needs, in `counts`. `more`: whether there is more to do,
// or there may be; for that the descriptor is asked where no more completions came than `look`.
static rs_status rsscript_poll(rs_queue *queue, char *buffer, size_t capacity, size_t max, long look, size_t *counts, bool *more) {
	rs_status status = rs_queue_poll_packed(queue, buffer, capacity, max, 0, &counts[0], &counts[1], &counts[2], NULL);
	*more = counts[1] > 0;
	if ((long)counts[1] <= look && counts[1] < max && counts[2] == 0) {
		struct pollfd readable = {.fd = rs_queue_fd(queue), .events = POLLIN};
		*more = poll(&readable, 1, 0) > 0;
	}
	return status;
}
*/
import "C"

import (
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Who polls. Unless nothing is in flight somebody does.
type role int

const (
	nobody role = iota
	aCaller
	theReader
)

const (
	// The reader leaves after so many calls that were alone.
	enoughAlone = 8
	// A server on the same processor has often answered when a call has been sent. Where it has not, so many calls
	// are not polled for at once.
	untriedCalls = 8
	// What happens while nobody calls is seen by the next call after so long.
	unpolledTime = time.Millisecond
	// How often the reader, while it does not poll, looks who does.
	readerPause = 5 * time.Millisecond
)

type poller struct {
	// A duplicate of the queue's descriptor, known to Go's poller.
	signal  *os.File
	conn    syscall.RawConn
	handed  chan struct{} // the reader is to poll
	stopped chan struct{}
	done    chan struct{} // closed by the reader when it ends
	// The caller that polls is to leave.
	wanted atomic.Bool
	// Are those of whoever polls.
	inbox   inbox
	untried int
	polled  time.Time // when a caller last began to
	turn    func(uintptr) bool
	// The caller that polls, and whether it has submitted.
	client    *Client
	call      *call
	submitted bool

	// Guarded by the engine's mu.
	role   role
	shifts uint64 // how many callers have polled
	alone  int    // how many calls in a row were alone
}

func (e *engine) startPolling() error {
	p := &e.poller
	fd, err := duplicate(int(C.rs_queue_fd(e.queue)))
	if err != nil {
		return err
	}
	// It is what makes os.NewFile ask Go's poller to take it, and means nothing to a set of descriptors.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return err
	}
	p.signal = os.NewFile(uintptr(fd), "rs_queue")
	if p.conn, err = p.signal.SyscallConn(); err == nil {
		// Nothing waits for a deadline here; it tells whether Go's poller takes the descriptor.
		err = p.signal.SetDeadline(time.Time{})
	}
	if err != nil {
		p.signal.Close()
		return err
	}
	p.handed, p.stopped, p.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	p.inbox = inbox{buf: make([]byte, readBuffer), counts: new(pollCounts)}
	p.turn = e.turnOfCaller
	go e.read()
	return nil
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

// enter sees to it that somebody polls, for a call that has been made; whether that is the caller, who can. With the
// engine's mu held.
func (p *poller) enter(can bool) bool {
	if p.role != nobody {
		return false
	}
	if can {
		p.role = aCaller
		p.shifts++
		return true
	}
	p.handToReader()
	return false
}

// handToReader has the reader poll; with the engine's mu held.
func (p *poller) handToReader() {
	p.role, p.alone = theReader, 0
	p.handed <- struct{}{}
}

// pollFor submits what has gathered, and polls until a call is over or the reader wants to.
func (h *Client) pollFor(c *call) {
	e := h.engine
	p := &e.poller
	p.client, p.call, p.submitted = h, c, false
	// Go's poller tells of an edge. None is lost within one Read, whose function is called again after each: so the
	// call is sent in there.
	_ = p.conn.Read(p.turn)
	p.client, p.call = nil, nil
	e.mu.Lock()
	p.wanted.Store(false)
	if e.room.inFlight > 0 {
		p.handToReader()
	} else {
		p.role = nobody
	}
	e.mu.Unlock()
}

// turnOfCaller is one turn of a caller that polls. Whether it leaves.
func (e *engine) turnOfCaller(uintptr) bool {
	p := &e.poller
	leaves := func() bool { return len(p.call.done) > 0 || p.wanted.Load() }
	if !p.submitted {
		p.submitted = true
		p.catchUp(e)
		p.client.submitAll()
		if p.untried > 0 {
			p.untried--
		} else if e.poll(askNever); len(p.call.done) == 0 {
			p.untried = untriedCalls
		}
		return leaves()
	}
	for more := true; more && !leaves(); {
		more = e.poll(askIfNone)
	}
	return leaves()
}

// catchUp polls if nobody may have done so for a while: a connection that has ended meanwhile should be known to
// have, and a time that has passed.
func (p *poller) catchUp(e *engine) {
	now := time.Now()
	isLate := now.Sub(p.polled) > unpolledTime
	p.polled = now
	for more := isLate; more; {
		more = e.poll(askIfNone)
	}
}

// read is the reader: it polls when it is to, until the engine is closed and nothing is in flight.
func (e *engine) read() {
	p := &e.poller
	defer close(p.done)
	timer := time.NewTimer(readerPause)
	defer timer.Stop()
	for e.awaitRole(timer) {
		err := p.conn.Read(func(uintptr) bool {
			for more := true; more; {
				more = e.poll(askAlways)
				if e.leave() {
					return true
				}
			}
			return false
		})
		if err != nil {
			return
		}
	}
}

// leave has the reader leave the polling to callers if those are alone.
func (e *engine) leave() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &e.poller
	leaves := p.alone >= enoughAlone && e.room.inFlight == 0
	if leaves {
		p.role = nobody
	}
	return leaves
}

// awaitRole waits until the reader is to poll, because somebody says so, nobody has called for a while, or a caller
// takes long. False when it is to end.
func (e *engine) awaitRole(timer *time.Timer) bool {
	p := &e.poller
	var serial, shifts uint64
	for {
		timer.Reset(readerPause)
		select {
		case <-p.handed:
			return true
		case <-p.stopped:
			return false
		case <-timer.C:
		}
		e.mu.Lock()
		isQuiet, isLong := e.serial == serial, p.shifts == shifts
		serial, shifts = e.serial, p.shifts
		switch {
		case p.role == nobody && isQuiet:
			p.role, p.alone = theReader, 0
			e.mu.Unlock()
			return true
		case p.role == aCaller && isLong:
			p.wanted.Store(true)
			e.mu.Unlock()
			e.wake()
		default:
			e.mu.Unlock()
		}
	}
}

// wake has whoever polls look once.
func (e *engine) wake() {
	e.life.RLock()
	defer e.life.RUnlock()
	if !e.freed {
		C.rs_queue_wake(e.queue)
	}
}

// count notes how many calls a poll has completed, and how many it has left; with the engine's mu held.
func (p *poller) count(completed, left int) {
	switch {
	case completed == 1 && left == 0:
		p.alone++
	case completed > 0:
		p.alone = 0
	}
}

// stop ends the reader; nothing is in flight any more.
func (p *poller) stop() {
	close(p.stopped)
	p.signal.Close()
	<-p.done
}

// The buffer for completions. Where one alone needs more, it gets one of its own.
const (
	readBuffer = 256 << 10
	readMax    = 1024
)

type inbox struct {
	buf []byte
	// Whether buf is for one completion alone, and not used again.
	isOwn bool
	calls []*call
	// What C writes to; no Go pointers are near.
	counts *pollCounts
}

type pollCounts struct {
	// Bytes, completions, what the next one needs.
	sizes [3]C.size_t
	more  C.bool
}

// When the queue's descriptor is asked whether there is more to do: where so many completions came at most.
const (
	askNever  = -1
	askIfNone = 0
	askAlways = readMax
)

// poll takes out what fits and wakes the callers. Whether there is more to do, or there may be.
func (e *engine) poll(ask C.long) bool {
	in := &e.poller.inbox
	n := in.counts
	e.life.RLock()
	status := C.rsscript_poll(e.queue, (*C.char)(unsafe.Pointer(unsafe.SliceData(in.buf))), C.size_t(len(in.buf)), readMax, ask, &n.sizes[0], &n.more)
	e.life.RUnlock()
	if status != C.RS_OK {
		panic("rsscript: the queue cannot be read: " + statusName(Status(status)))
	}
	more, needed := bool(n.more), int(n.sizes[2])
	e.dispatch(in, in.buf[:n.sizes[0]], in.isOwn)
	if needed > len(in.buf) {
		// What is in it is its owner's: nothing of it is copied.
		shared := in.buf
		in.buf, in.isOwn = unfilled(needed), true
		more = e.poll(ask)
		in.buf, in.isOwn = shared, false
	}
	return more
}

// unfilled is memory for so many bytes that are all written next. That of make is set to 0 before, which for 64 MiB
// takes half as long as to receive them.
func unfilled(size int) []byte {
	var builder strings.Builder
	builder.Grow(size)
	// Of an empty string it is not said where it is.
	builder.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(builder.String()), size)
}
