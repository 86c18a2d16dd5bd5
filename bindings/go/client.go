// Clients: opening, commands, closing.

//go:build cgo

package rsscript

/*
#include <rs_script.h>
*/
import "C"

import (
	"context"
	"runtime"
)

// Client is a connection to a server or cluster that any number of goroutines may share; their calls travel together.
//
// Calls take a context. Its deadline is that of the call; without one the client's own holds, see [WithCallTimeout].
// When the context is cancelled the call ends at once, with an error that is both the context's and a [*Error] which
// says whether the call may have been executed.
type Client struct {
	engine *engine
	native *nativeClient
	lane   lane
}

// isNone tells of a client that Open has not made, or of nil.
func (c *Client) isNone() bool { return c == nil || c.engine == nil }

func noClient() *Error {
	return refused(ErrInvalidArgument, "the client is none: it was not made by Open; nothing was sent")
}

// nativeClient frees its handle when nobody has it any more.
type nativeClient struct{ pointer *C.rs_client }

func newNativeClient(pointer *C.rs_client) *nativeClient {
	native := &nativeClient{pointer}
	runtime.SetFinalizer(native, func(native *nativeClient) { C.rs_client_free(native.pointer) })
	return native
}

// Open opens a client, and its connection unless [WithLazyConnect] is given.
//
// The URL is redis://[[user]:password@]host[:port][/database], rediss://... for TLS, unix:///path, a cluster as
// redis+cluster://[[user]:password@]host[:port],host[:port],..., or the primary of a service behind sentinels as
// redis+sentinel://[[user]:password@]host[:port],.../service[/database].
//
// Each server that the URL names is tried once, for no longer than the connect timeout. When the context ends first,
// Open returns at once, and the attempt goes on unseen until it ends or its time is over.
// The client must be closed with [Client.Close].
func Open(ctx context.Context, url string, options ...Option) (*Client, error) {
	if err := checkVersion(uint32(C.rs_version_number())); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	settings, err := newSettings(ctx, options)
	if err != nil {
		return nil, err
	}
	type opened struct {
		client *Client
		err    *Error
	}
	result := make(chan opened, 1)
	go func() {
		defer settings.free()
		client, err := open(url, settings)
		result <- opened{client, err}
	}()
	select {
	case opened := <-result:
		if opened.err != nil {
			settings.login.close()
			if opened.err.mayBeOfContext() {
				opened.err.cause = causeOf(ctx)
			}
			return nil, opened.err
		}
		return opened.client, nil
	case <-ctx.Done():
		go func() {
			if opened := <-result; opened.client != nil {
				opened.client.Close()
			} else {
				settings.login.close()
			}
		}()
		return nil, ended(ctx)
	}
}

func open(url string, settings *settings) (*Client, *Error) {
	client := &Client{}
	err := withCString("the URL", url, func(url *C.char) *Error {
		var pointer *C.rs_client
		var native *C.rs_error
		if C.rs_client_open(url, settings.native, &pointer, &native) != C.RS_OK {
			return takeError(native)
		}
		client.native = newNativeClient(pointer)
		return nil
	})
	if err == nil {
		client.engine, err = newEngine(settings)
	}
	if err != nil {
		return nil, err
	}
	return client, nil
}

// Close ends the client and all that was made of it. Calls in flight end at once: with [ErrClosed], or with
// [ErrIndeterminate] where they were sent. It returns when they have, and no goroutine of the client is left but one
// that a logger keeps, or a function that is asked for credentials. On what WithReadFrom and its neighbours have made
// it closes the client itself. It may be called again, and always returns nil.
func (c *Client) Close() error {
	if c.isNone() {
		return nil
	}
	c.engine.close(func() {
		C.rs_client_close(c.native.pointer)
		runtime.KeepAlive(c.native)
	})
	c.engine.events.close()
	c.engine.login.close()
	return nil
}

// Do sends a command as it is, for example Do(ctx, "SET", "foo", 2). Arguments are strings, []byte, numbers, bool (1
// or 0), types that are made of these, or [encoding.BinaryMarshaler]. What could be meant in more than one way is
// refused: a [time.Time] or [time.Duration], of which the caller says what is to be sent, and nil.
//
// Commands that would change the connection under other callers (MULTI, WATCH, SUBSCRIBE, SELECT, ...) are refused
// with [ErrCommandRefused]. A command is sent again only when the server provably did not run it, as after a
// redirection. [Client.DoWith] makes one that may run twice.
func (c *Client) Do(ctx context.Context, args ...any) Result {
	return c.command(ctx, &CallOptions{}, args)
}

func (c *Client) command(ctx context.Context, options *CallOptions, args []any) Result {
	call := callPool.Get().(*call)
	defer call.release()
	if err := call.packed.route(options); err != nil {
		return failed(err)
	}
	if err := call.packed.command(args, options.flags()); err != nil {
		return failed(err)
	}
	c.do(ctx, call)
	return call.result
}

// Stats is what a client has done since it was opened, over all its connections.
type Stats struct {
	// Calls sent: commands, scripts and pipelines, those sent a second time counted again, the handshakes, and what the
	// library asks servers for itself.
	Calls uint64
	// RoundTrips is bursts of writing to a socket. Calls that travel together share one; a call made when all before
	// it have ended adds exactly one each time that something of it is sent, a pipeline of more than 256 KiB several.
	RoundTrips uint64
	// BytesSent is before encryption.
	BytesSent uint64
	// BytesReceived is after decryption.
	BytesReceived uint64
	// ScriptLoads is the SCRIPT LOADs and FUNCTION LOADs sent of the library's own accord.
	ScriptLoads uint64
	// NoScriptRepairs is scripts and functions loaded and sent again because the server had lost them.
	NoScriptRepairs uint64
	// Reconnects is connections opened after the first one to each server, those of commands that wait not counted.
	Reconnects uint64
	// Redirects is MOVED and ASK redirections followed.
	Redirects uint64
	// InFlight is calls in flight now, those included whose callers have left.
	InFlight uint64
}

// Stats gives the client's figures.
func (c *Client) Stats() Stats {
	if c.isNone() || c.engine.fake != nil {
		return Stats{}
	}
	var values [C.RS_STAT_COUNT]C.uint64_t
	C.rs_client_stats(c.native.pointer, &values[0], C.RS_STAT_COUNT)
	runtime.KeepAlive(c.native)
	of := func(which int) uint64 { return uint64(values[which]) }
	return Stats{
		Calls: of(C.RS_STAT_CALLS), RoundTrips: of(C.RS_STAT_ROUND_TRIPS),
		BytesSent: of(C.RS_STAT_BYTES_SENT), BytesReceived: of(C.RS_STAT_BYTES_RECEIVED),
		ScriptLoads: of(C.RS_STAT_SCRIPT_LOADS), NoScriptRepairs: of(C.RS_STAT_NOSCRIPT_REPAIRS),
		Reconnects: of(C.RS_STAT_RECONNECTS), Redirects: of(C.RS_STAT_REDIRECTS), InFlight: of(C.RS_STAT_IN_FLIGHT),
	}
}
