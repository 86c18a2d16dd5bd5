// What a call has of its own instead of its client's, and clients whose calls all have it: which servers run them,
// and what is known of them.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static rs_status rsscript_with(rs_client *client, int32_t from, int32_t route, const char *to, size_t len,
                               uint32_t slot, rs_client **view, rs_error **err) {
	rs_call_options options = {.size = sizeof options, .read_from = from, .route = route, .route_slot = slot};
	options.route_to = to, options.route_len = len;
	return rs_client_with(client, &options, view, err);
}
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"strings"
)

// ReadFrom says which servers run read-only calls. The zero value is what the client has anyway.
type ReadFrom int32

const (
	// Primary: the primary. This is the default of a client.
	Primary ReadFrom = 1
	// PreferReplica: the replicas in turn, the primary where none can be reached.
	PreferReplica ReadFrom = 2
	// Replica: the replicas in turn, never the primary.
	Replica ReadFrom = 3
)

// Route says where calls without keys go in a cluster, and commands whose keys are not known; keys go before it. The
// zero value is the client's own route. On a client of a single server every route leads there, and with [RouteAll] the
// reply is a map all the same.
type Route struct {
	kind C.int32_t
	to   string
	slot uint16
}

// RouteAny is any primary, taken at random. This is the default of a client.
func RouteAny() Route { return Route{kind: C.RS_ROUTE_ANY} }

// RouteKey is the primary that has the slot of key.
func RouteKey(key string) Route { return Route{kind: C.RS_ROUTE_KEY, to: key} }

// RouteSlot is the primary that has the slot of this number, 0 to 16383.
func RouteSlot(slot uint16) Route { return Route{kind: C.RS_ROUTE_SLOT, slot: slot} }

// RouteNode is a server by its address, host:port as the servers announce it; a replica's will do.
func RouteNode(node string) Route { return Route{kind: C.RS_ROUTE_NODE, to: node} }

// RouteAll is all primaries side by side: the reply is a map from each one's host:port to its reply or error.
// Pipelines and transactions cannot go there.
func RouteAll() Route { return Route{kind: C.RS_ROUTE_ALL} }

// CallOptions is what a single call has of its own instead of its client's. How long it may take its context says.
type CallOptions struct {
	// ReadOnly: the call only reads. Of a script the server sees to that, as with [Script.CallRO]; of a command that is
	// your word. It is sent again when its reply was lost, and replicas may run it; see ReadFrom.
	ReadOnly bool
	// Idempotent: the call may safely run twice, and is sent again when its reply was lost with the connection.
	Idempotent bool
	// ReadFrom is which servers run the call if it is read-only.
	ReadFrom ReadFrom
	// Route is where it goes if it has no keys.
	Route Route
	// Token is, of a call of a script that has [Once], a token of your own, 1 to 256 bytes: a job's id, a request's.
	// Whoever makes the same call with the same token, in whichever process, gets what the first one was answered.
	// Empty: the library makes a new one for each call. With [Pipeline.ExecWith] it is one for all items.
	Token string
}

func (o *CallOptions) flags() byte {
	flags := byte(0)
	if o.ReadOnly {
		flags |= packedReadOnly
	}
	if o.Idempotent {
		flags |= packedIdempotent
	}
	return flags
}

// ofAnItem is the flags of a pipeline's item, which goes where the pipeline does.
func (o *CallOptions) ofAnItem() (byte, *Error) {
	if o.ReadFrom != 0 || o.Route != (Route{}) {
		return 0, refused(ErrInvalidArgument, "an item of a pipeline has no ReadFrom and no Route of its own: "+
			"the client has that the pipeline is made of; nothing was sent")
	}
	return o.flags(), nil
}

func tokenOfCommand() *Error {
	return refused(ErrInvalidArgument, "a command has no Token: that is for scripts with Once; nothing was sent")
}

// DoWith is [Client.Do] with options of this call's own.
func (c *Client) DoWith(ctx context.Context, options CallOptions, args ...any) Result {
	if options.Token != "" {
		return failed(tokenOfCommand())
	}
	return c.command(ctx, &options, args)
}

// CallWith is [Script.Call] with options of this call's own; see [Client.DoWith].
func (s *Script) CallWith(ctx context.Context, options CallOptions, keys []string, args ...any) Result {
	return s.call(ctx, &options, keys, args)
}

// DoWith appends a command with options of its own: ReadOnly, Idempotent. See [Pipeline.Do].
func (p *Pipeline) DoWith(options CallOptions, args ...any) *Pipeline {
	flags, err := options.ofAnItem()
	if err == nil && options.Token != "" {
		err = tokenOfCommand()
	}
	if err != nil {
		return p.appended(err)
	}
	return p.appended(p.items.command(args, flags))
}

// CallWith appends a call of a script with options of its own: ReadOnly, Idempotent, Token. See [Pipeline.Call].
func (p *Pipeline) CallWith(options CallOptions, script *Script, keys []string, args ...any) *Pipeline {
	flags, err := options.ofAnItem()
	if err != nil {
		return p.appended(err)
	}
	return p.call(script, flags, options.Token, keys, args)
}

// ExecWith is [Pipeline.Exec] with options of this call's own: ReadFrom, Route, and Token, one for all items: each call
// of a script that has [Once] gets a token that comes from it, by its place, but those that have their own. There has
// to be one such call, and all other items have to be ReadOnly or Idempotent.
func (p *Pipeline) ExecWith(ctx context.Context, options CallOptions) ([]Result, error) {
	if options.flags() != 0 {
		p.appended(refused(ErrInvalidArgument,
			"a pipeline has no ReadOnly and no Idempotent of its own: its items have that; nothing was sent"))
	}
	return p.exec(ctx, &options)
}

// With gives the same client whose calls are read from these servers and go this way; the zero value of either leaves
// what there is. It is closed with the client that it is made of, and need not be closed itself. Make it once and
// keep it, rather than for each call.
func (c *Client) With(from ReadFrom, route Route) (*Client, error) {
	client, err := c.with(from, route)
	if err != nil {
		return nil, err
	}
	return client, nil
}

func (c *Client) with(from ReadFrom, route Route) (*Client, *Error) {
	if c.isNone() {
		return nil, noClient()
	}
	if c.engine.fake != nil {
		return &Client{engine: c.engine}, nil
	}
	if route.kind == C.RS_ROUTE_NODE && strings.ContainsRune(route.to, 0) {
		return nil, refused(ErrInvalidArgument, "the address holds a NUL; nothing was sent")
	}
	var pointer *C.rs_client
	var native *C.rs_error
	status := C.rsscript_with(c.native.pointer, C.int32_t(from), route.kind, pointerTo(route.to), C.size_t(len(route.to)),
		C.uint32_t(route.slot), &pointer, &native)
	runtime.KeepAlive(c.native)
	if status != C.RS_OK {
		return nil, takeError(native)
	}
	return &Client{engine: c.engine, native: newNativeClient(pointer)}, nil
}

// WithReadFrom gives the same client with read-only calls run by other servers; see [Client.With].
func (c *Client) WithReadFrom(from ReadFrom) (*Client, error) {
	if from < Primary || from > Replica {
		text := fmt.Sprintf("%d is none of Primary, PreferReplica and Replica; nothing was sent", from)
		return nil, refused(ErrInvalidArgument, text)
	}
	return c.With(from, Route{})
}

// WithRouteKey gives the same client with calls without keys going the way of [RouteKey].
func (c *Client) WithRouteKey(key string) (*Client, error) { return c.With(0, RouteKey(key)) }

// WithRouteSlot is the same with [RouteSlot].
func (c *Client) WithRouteSlot(slot uint16) (*Client, error) { return c.With(0, RouteSlot(slot)) }

// WithRouteNode is the same with [RouteNode].
func (c *Client) WithRouteNode(node string) (*Client, error) { return c.With(0, RouteNode(node)) }

// WithRouteAll is the same with [RouteAll].
func (c *Client) WithRouteAll() (*Client, error) { return c.With(0, RouteAll()) }
