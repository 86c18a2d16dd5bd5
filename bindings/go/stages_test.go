// Holds calls at a stage of their way, for tests of what happens to them there.

package rsscript

import "runtime"

// HoldBatch keeps calls in the open batch until the returned function sends it. The client must have been used, and
// must not be in use.
func (c *Client) HoldBatch() (send func()) {
	e, l := c.engine, &c.lane
	e.mu.Lock()
	defer e.mu.Unlock()
	l.submitting = true
	return func() {
		for c.submit() > 0 {
		}
	}
}

// Batched is how many calls are in the open batch, and how many calls are to be called off once it has been sent.
func (c *Client) Batched() (calls, callOff int) {
	e, l := c.engine, &c.lane
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(l.open.calls), len(l.callOff)
}

// HoldReplies keeps replies from getting to their callers until the returned function is called.
func (c *Client) HoldReplies() (deliver func()) {
	// Whoever submits still needs the lock before it waits for a reply.
	for c.engine.mu.Lock(); c.lane.submitting; c.engine.mu.Lock() {
		c.engine.mu.Unlock()
		runtime.Gosched()
	}
	return c.engine.mu.Unlock
}
