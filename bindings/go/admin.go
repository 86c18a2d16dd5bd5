// The servers' script caches.

//go:build cgo

package rsscript

import (
	"context"
	"errors"
	"fmt"
)

// FlushMode says how SCRIPT FLUSH is to work.
type FlushMode int32

const (
	// FlushDefault is as the server is configured.
	FlushDefault FlushMode = 0
	// FlushSync is at once, before the reply.
	FlushSync FlushMode = 1
	// FlushAsync is in the background.
	FlushAsync FlushMode = 2
)

// ScriptLoad loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call
// does it by itself.
func (c *Client) ScriptLoad(ctx context.Context, script *Script) error {
	if err := script.unusable(); err != nil {
		return err
	}
	return c.administer(ctx, func(p *packed) *Error {
		p.load(script.native)
		return nil
	}).Err()
}

// ScriptExists asks which scripts the server has in its cache, by their SHA1s; in a cluster, which of them every
// primary has.
func (c *Client) ScriptExists(ctx context.Context, shas ...string) ([]bool, error) {
	if len(shas) == 0 {
		return nil, nil
	}
	elements, err := c.administer(ctx, func(p *packed) *Error { return p.exists(shas) }).Slice()
	if err != nil {
		return nil, err
	}
	exists := make([]bool, len(elements))
	for i, element := range elements {
		if exists[i], err = element.Bool(); err != nil {
			return nil, err
		}
	}
	return exists, nil
}

// ScriptFlush empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what
// they need.
func (c *Client) ScriptFlush(ctx context.Context, mode FlushMode) error {
	if mode < FlushDefault || mode > FlushAsync {
		return refused(ErrInvalidArgument, fmt.Sprintf("%d is no mode of SCRIPT FLUSH; nothing was sent", mode))
	}
	return c.administer(ctx, func(p *packed) *Error {
		p.head(packedScriptFlush, byte(mode))
		return nil
	}).Err()
}

// ScriptKill stops the script that the server is running, if it has not written yet; in a cluster, the scripts that
// the primaries are running. The error is [ErrServer] with the server's word NOTBUSY where no script runs, and
// UNKILLABLE where it has written.
func (c *Client) ScriptKill(ctx context.Context) error {
	return c.administer(ctx, func(p *packed) *Error {
		p.head(packedScriptKill, 0)
		return nil
	}).Err()
}

// Killed is what [Client.Kill] has stopped on one server.
type Killed struct {
	// Function says whether it was a function (FCALL), and not a script.
	Function bool
	// Name is the function's. It is empty for a script, which the server does not name, and where this user may not
	// run FUNCTION STATS.
	Name string
	// Node is the server, host:port, or the path of its socket.
	Node string
}

// Kill stops what the server is running, a script or a function, if it has not written yet, and tells what that was;
// in a cluster, what the primaries are running. The error is [ErrServer] with the server's word NOTBUSY where nothing
// runs, and UNKILLABLE where it has written.
func (c *Client) Kill(ctx context.Context) ([]Killed, error) {
	elements, err := c.administer(ctx, func(p *packed) *Error {
		p.head(packedKill, 0)
		return nil
	}).Slice()
	if err != nil {
		return nil, err
	}
	killed := make([]Killed, len(elements))
	for i, element := range elements {
		fields, err := element.Slice()
		if err != nil {
			return nil, err
		}
		texts := make([]string, 3)
		for j := range min(len(fields), len(texts)) {
			if texts[j], err = fields[j].Text(); err != nil && !errors.Is(err, ErrNil) {
				return nil, err
			}
		}
		killed[i] = Killed{Function: texts[0] == "function", Name: texts[1], Node: texts[2]}
	}
	return killed, nil
}

// ScriptShow gives the source of a script that the server has in its cache, by its SHA1; in a cluster, that any
// primary has. An error that is [ErrNil] says that none has it, and [ErrNotSupported] that the server does not know
// SCRIPT SHOW: Valkey does from 8 on.
func (c *Client) ScriptShow(ctx context.Context, sha string) (string, error) {
	return c.administer(ctx, func(p *packed) *Error { return p.show(sha) }).Text()
}

func (c *Client) administer(ctx context.Context, pack func(*packed) *Error) Result {
	call := callPool.Get().(*call)
	defer call.release()
	if err := pack(&call.packed); err != nil {
		return failed(err)
	}
	c.do(ctx, call)
	return call.result
}
