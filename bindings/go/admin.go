// The servers' script caches. These calls wait inside the native library, on a thread of their own; so few are made at once.

package rsscript

/*
#include <rs_script.h>
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unsafe"
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

// ScriptLoad loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it by itself.
func (c *Client) ScriptLoad(ctx context.Context, script *Script) error {
	if script.err != nil {
		return script.err
	}
	return c.administer(ctx, waiting, func(client *C.rs_client, err **C.rs_error) C.rs_status {
		defer runtime.KeepAlive(script.native)
		return C.rs_client_script_load(client, script.native.pointer, err)
	})
}

// ScriptExists asks which scripts the server has in its cache, by their SHA1s; in a cluster, which of them every primary has.
func (c *Client) ScriptExists(ctx context.Context, shas ...string) ([]bool, error) {
	if len(shas) == 0 {
		return nil, nil
	}
	for i, sha := range shas {
		if len(sha) != 40 {
			return nil, refused(ErrInvalidArgument, fmt.Sprintf("SHA1 %d has %d characters, not 40; nothing was sent", i, len(sha)))
		}
	}
	var exists []bool
	err := c.administer(ctx, waiting, func(client *C.rs_client, err **C.rs_error) C.rs_status {
		texts := make([]*C.char, len(shas))
		for i, sha := range shas {
			texts[i] = C.CString(sha)
			defer C.free(unsafe.Pointer(texts[i]))
		}
		found := make([]C.bool, len(shas))
		status := C.rs_client_script_exists(client, C.size_t(len(shas)), &texts[0], &found[0], err)
		if status == C.RS_OK {
			exists = make([]bool, len(shas))
			for i, one := range found {
				exists[i] = bool(one)
			}
		}
		return status
	})
	if err != nil {
		return nil, err
	}
	return exists, nil
}

// ScriptFlush empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
func (c *Client) ScriptFlush(ctx context.Context, mode FlushMode) error {
	return c.administer(ctx, waiting, func(client *C.rs_client, err **C.rs_error) C.rs_status {
		return C.rs_client_script_flush(client, C.int32_t(mode), err)
	})
}

// ScriptKill stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the primaries are running. The error is
// [ErrServer] with the server's word NOTBUSY where no script runs, and UNKILLABLE where it has written.
func (c *Client) ScriptKill(ctx context.Context) error {
	return c.administer(ctx, killing, func(client *C.rs_client, err **C.rs_error) C.rs_status {
		return C.rs_client_script_kill(client, err)
	})
}

// ScriptShow gives the source of a script that the server has in its cache, by its SHA1; in a cluster, that any primary has. An error that is [ErrNil] says that none has it, and
// [ErrNotSupported] that the server does not know SCRIPT SHOW: Valkey does from 8 on.
func (c *Client) ScriptShow(ctx context.Context, sha string) (string, error) {
	if len(sha) != 40 {
		return "", refused(ErrInvalidArgument, fmt.Sprintf("the SHA1 has %d characters, not 40; nothing was sent", len(sha)))
	}
	var source *string
	err := c.administer(ctx, waiting, func(client *C.rs_client, err **C.rs_error) C.rs_status {
		text := C.CString(sha)
		defer C.free(unsafe.Pointer(text))
		var reply *C.rs_reply
		status := C.rs_client_script_show(client, text, &reply, err)
		if reply != nil {
			var length C.size_t
			bytes := C.rs_reply_string(reply, &length)
			shown := C.GoStringN(bytes, C.int(length))
			source = &shown
			C.rs_reply_free(reply)
		}
		return status
	})
	if err != nil {
		return "", err
	}
	if source == nil {
		return "", &TypeError{KindNil, "a script"}
	}
	return *source, nil
}

// How many may wait inside the library at once, in the whole process. A kill must not wait for those that wait for the script to be killed.
var (
	waiting = make(chan struct{}, 8)
	killing = make(chan struct{}, 4)
)

func (c *Client) administer(ctx context.Context, room chan struct{}, f func(*C.rs_client, **C.rs_error) C.rs_status) error {
	if err := ctx.Err(); err != nil {
		return ended(err)
	}
	select {
	case room <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx.Err())
	}
	result := make(chan *Error, 1)
	go func() {
		defer func() { <-room }()
		result <- c.blocking(ctx, f)
	}()
	select {
	case err := <-result:
		if err != nil && err.mayBeOfContext() {
			err.cause = causeOf(ctx)
		}
		return errorOf(err)
	case <-ctx.Done():
		return &Error{
			Status:        ErrIndeterminate,
			Message:       "the context ended while the servers were asked: they may have executed it or may yet do so",
			Indeterminate: true,
			cause:         ctx.Err(),
		}
	}
}

func (c *Client) blocking(ctx context.Context, f func(*C.rs_client, **C.rs_error) C.rs_status) *Error {
	client := c
	if deadline, ok := ctx.Deadline(); ok {
		left := max((time.Until(deadline)+time.Millisecond-1)/time.Millisecond, 1)
		view, err := c.view(func(view **C.rs_client, err **C.rs_error) C.rs_status {
			return C.rs_client_with_timeout(c.native.pointer, C.uint64_t(left), view, err)
		})
		if err != nil {
			return err.(*Error)
		}
		client = view
	}
	var native *C.rs_error
	status := f(client.native.pointer, &native)
	runtime.KeepAlive(client.native)
	if status != C.RS_OK {
		return takeError(native)
	}
	return nil
}
