// Scripts and their calls.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static rs_status rsscript_register(const char *lua, size_t len, uint32_t flags, rs_script **script, rs_error **err) {
	rs_script_options options = {.size = sizeof options, .flags = flags};
	return rs_script_register(NULL, lua, len, &options, script, err);
}
*/
import "C"

import (
	"context"
	"runtime"
)

// Script is a Lua script. It never changes, and may be called by any number of goroutines, on any client by way of [Script.On].
type Script struct {
	client *Client
	native *nativeScript
	err    *Error
}

// nativeScript frees its handle when nobody has it any more.
type nativeScript struct{ pointer *C.rs_script }

// ScriptOption says more about a script.
type ScriptOption uint32

// Idempotent says that the script may safely run twice: a call whose reply was lost with the connection is sent again within its deadline.
const Idempotent ScriptOption = C.RS_SCRIPT_IDEMPOTENT

// Script makes a script of exactly these bytes. Nothing is sent; the script is loaded by its first call, in the same write. Whether it compiles shows then.
func (c *Client) Script(source string, options ...ScriptOption) *Script {
	var flags ScriptOption
	for _, option := range options {
		flags |= option
	}
	script := &Script{client: c}
	var pointer *C.rs_script
	var native *C.rs_error
	if C.rsscript_register(pointerTo(source), C.size_t(len(source)), C.uint32_t(flags), &pointer, &native) != C.RS_OK {
		script.err = takeError(native)
		return script
	}
	script.native = &nativeScript{pointer}
	runtime.SetFinalizer(script.native, func(native *nativeScript) { C.rs_script_free(native.pointer) })
	return script
}

// On gives the same script to be called on another client.
func (s *Script) On(client *Client) *Script {
	return &Script{client: client, native: s.native, err: s.err}
}

// SHA is the script's SHA1, 40 lower-case hexadecimal digits. It is known before any call.
func (s *Script) SHA() string {
	if s.native == nil {
		return ""
	}
	sha := C.GoString(C.rs_script_sha(s.native.pointer))
	runtime.KeepAlive(s.native)
	return sha
}

// Call calls the script with KEYS and ARGV. For the types of args see [Client.Do].
//
// It runs at most once: when the reply is lost the error is [ErrIndeterminate], unless the script is [Idempotent].
func (s *Script) Call(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, keys, args, false)
}

// CallRO calls the script read-only: the server stops it at its first write. It is sent again when its reply was lost, and replicas may run it; see [WithReadFrom].
func (s *Script) CallRO(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, keys, args, true)
}

func (s *Script) call(ctx context.Context, keys []string, args []any, readOnly bool) Result {
	if s.err != nil {
		return failed(s.err)
	}
	call := callPool.Get().(*call)
	defer call.release()
	if err := call.packed.script(s.native, keys, args, readOnly); err != nil {
		return failed(err)
	}
	s.client.do(ctx, call)
	return call.result
}
