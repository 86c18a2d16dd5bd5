// Scripts and their calls.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static rs_status rsscript_register(const char *lua, size_t len, uint32_t flags, const char *name, size_t name_len,
                                   rs_script **script, rs_error **err) {
	rs_script_options options = {.size = sizeof options, .flags = flags, .name = name, .name_len = name_len};
	return rs_script_register(NULL, lua, len, &options, script, err);
}
*/
import "C"

import (
	"context"
	"runtime"
)

// Script is a Lua script. It never changes, and may be called by any number of goroutines, on any client by way of
// [Script.On].
type Script struct {
	client *Client
	native *nativeScript
	err    *Error
}

// nativeScript frees its handle when nobody has it any more.
type nativeScript struct {
	pointer           *C.rs_script
	sha, source, name string
}

// calledName is what hooks call it.
func (n *nativeScript) calledName() string {
	if n.name != "" {
		return n.name
	}
	return n.sha
}

// ScriptOption says more about a script: [Idempotent], [Name].
type ScriptOption interface{ apply(*scriptSettings) }

type scriptSettings struct {
	flags C.uint32_t
	name  string
}

type scriptFlag uint32

func (f scriptFlag) apply(s *scriptSettings) { s.flags |= C.uint32_t(f) }

type scriptName string

func (n scriptName) apply(s *scriptSettings) { s.name = string(n) }

// Idempotent says that the script may safely run twice: a call whose reply was lost with the connection is sent
// again within its deadline.
const Idempotent scriptFlag = C.RS_SCRIPT_IDEMPOTENT

// Name is what [Hook]s, figures, events and tests call the script, in place of its SHA1: UTF-8 without control
// characters, 256 bytes at most. The server learns nothing of it.
func Name(name string) ScriptOption { return scriptName(name) }

// Script makes a script of exactly these bytes. Nothing is sent; the script is loaded by its first call, in the same
// write. Whether it compiles shows then.
func (c *Client) Script(source string, options ...ScriptOption) *Script {
	var settings scriptSettings
	for _, option := range options {
		option.apply(&settings)
	}
	script := &Script{client: c}
	var pointer *C.rs_script
	var native *C.rs_error
	status := C.rsscript_register(pointerTo(source), C.size_t(len(source)), settings.flags,
		pointerTo(settings.name), C.size_t(len(settings.name)), &pointer, &native)
	if status != C.RS_OK {
		script.err = takeError(native)
		return script
	}
	script.native = &nativeScript{pointer, C.GoString(C.rs_script_sha(pointer)), source, settings.name}
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
	return s.native.sha
}

// Name is what it was called with the option [Name]; empty without.
func (s *Script) Name() string {
	if s.native == nil {
		return ""
	}
	return s.native.name
}

// Call calls the script with KEYS and ARGV. For the types of args see [Client.Do].
//
// It runs at most once: when the reply is lost the error is [ErrIndeterminate], unless the script is [Idempotent].
func (s *Script) Call(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, s.client, 0, keys, args)
}

// CallRO calls the script read-only: the server stops it at its first write. It is sent again when its reply was
// lost, and replicas may run it; see [WithReadFrom].
func (s *Script) CallRO(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, s.client, packedReadOnly, keys, args)
}

func (s *Script) call(ctx context.Context, way *Client, flags byte, keys []string, args []any) Result {
	if s.err != nil {
		return failed(s.err)
	}
	call := callPool.Get().(*call)
	defer call.release()
	if err := call.packed.script(s.native, keys, args, flags); err != nil {
		return failed(err)
	}
	way.do(ctx, call)
	return call.result
}
