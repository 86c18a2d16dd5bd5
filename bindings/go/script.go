// Scripts and their calls.

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

// Script is a Lua script, or a function of a [Library]. It never changes, and may be called by any number of
// goroutines, on any client by way of [Script.On].
type Script struct {
	client *Client
	native *nativeScript
	err    *Error
}

// nativeScript frees its handle when nobody has it any more.
type nativeScript struct {
	pointer                     *C.rs_script
	sha, source, name, function string
}

func newNativeScript(pointer *C.rs_script, source, name string) *nativeScript {
	made := &nativeScript{
		pointer, C.GoString(C.rs_script_sha(pointer)), source, name, C.GoString(C.rs_script_function_name(pointer)),
	}
	runtime.SetFinalizer(made, func(made *nativeScript) { C.rs_script_free(made.pointer) })
	return made
}

// calledName is what hooks call it.
func (n *nativeScript) calledName() string {
	if n.name != "" {
		return n.name
	}
	return n.sha
}

// Script makes a script of exactly these bytes. Nothing is sent; the script is loaded by its first call, in the same
// write. Whether it compiles shows then.
func (c *Client) Script(source string, options ...ScriptOption) *Script {
	script := &Script{client: c}
	settings, err := newScriptSettings(options)
	if err == nil {
		script.native, err = settings.register(source)
	}
	script.err = err
	return script
}

// On gives the same script to be called on another client.
func (s *Script) On(client *Client) *Script {
	return &Script{client: client, native: s.native, err: s.unusable()}
}

// unusable is why it cannot be called.
func (s *Script) unusable() *Error {
	if s == nil || s.native == nil && s.err == nil {
		return refused(ErrInvalidArgument, "the script is none: it was not made by Client.Script or Library.Function; "+
			"nothing was sent")
	}
	return s.err
}

// SHA is the script's SHA1, 40 lower-case hexadecimal digits. It is known before any call. Of a function it is that of
// the library's code and the function's name, and known to no server.
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

// FunctionName is the server's name of a function, with the digest of a pinned library behind it, and of a script that
// is called [AsFunction]; empty for other scripts.
func (s *Script) FunctionName() string {
	if s.native == nil {
		return ""
	}
	return s.native.function
}

// Call calls the script with KEYS and ARGV. For the types of args see [Client.Do].
//
// It runs at most once: when the reply is lost the error is [ErrIndeterminate], unless the script is [Idempotent] or
// has [Once].
func (s *Script) Call(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, &CallOptions{}, keys, args)
}

// CallRO calls the script read-only: the server stops it at its first write. It is sent again when its reply was
// lost, and replicas may run it; see [WithReadFrom].
func (s *Script) CallRO(ctx context.Context, keys []string, args ...any) Result {
	return s.call(ctx, &CallOptions{ReadOnly: true}, keys, args)
}

func (s *Script) call(ctx context.Context, options *CallOptions, keys []string, args []any) Result {
	if err := s.unusable(); err != nil {
		return failed(err)
	}
	call := callPool.Get().(*call)
	defer call.release()
	if err := call.packed.route(options); err != nil {
		return failed(err)
	}
	if err := call.packed.script(s.native, keys, args, options.flags(), options.Token); err != nil {
		return failed(err)
	}
	s.client.do(ctx, call)
	return call.result
}
