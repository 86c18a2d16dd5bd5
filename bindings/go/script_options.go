// What is said of a script or a function beside its source.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static rs_status rsscript_register(const rs_library *library, const char *text, size_t len, uint32_t flags,
                                   const char *name, size_t name_len, uint64_t lifetime, size_t limit,
                                   const char *prefix, size_t prefix_len, size_t replicas, uint64_t wait,
                                   rs_script **script, rs_error **err) {
	rs_script_options options = {.size = sizeof options, .flags = flags, .name = name, .name_len = name_len};
	options.token_lifetime_ms = lifetime, options.reply_limit = limit;
	options.token_prefix = prefix, options.token_prefix_len = prefix_len;
	options.wait_replicas = replicas, options.wait_timeout_ms = wait;
	if (library) return rs_library_function(library, text, len, &options, script, err);
	return rs_script_register(NULL, text, len, &options, script, err);
}
*/
import "C"

import (
	"math"
	"runtime"
	"time"
)

// ScriptOption says more about a script: [Idempotent], [Once], [AsFunction], [Name].
type ScriptOption interface{ apply(*scriptSettings) }

type scriptSettings struct {
	flags C.uint32_t
	name  string
	once  Once
	// The same as C has it.
	numbers onceNumbers
}

// onceNumbers is a [Once] as C has it.
type onceNumbers struct {
	lifetime, limit uint64
	replicas, wait  uint32
	prefix          string
}

type scriptFlag uint32

func (f scriptFlag) apply(s *scriptSettings) { s.flags |= C.uint32_t(f) }

type scriptName string

func (n scriptName) apply(s *scriptSettings) { s.name = string(n) }

const (
	// Idempotent says that the script may safely run twice: a call whose reply was lost with the connection is sent
	// again within its deadline. Not together with [Once].
	Idempotent scriptFlag = C.RS_SCRIPT_IDEMPOTENT
	// AsFunction has the script called as a function: its body becomes the only one of a library that the client
	// makes, which servers replicate and persist. So it survives a failover, SCRIPT FLUSH and a restart, and replicas
	// have it. On servers before 7.0 it is called as the script that it is. Not for a function of a [Library].
	//
	// An error that it returns gets " script: rs" behind it; the guide says what else differs for its body, under
	// "Functions".
	AsFunction scriptFlag = C.RS_SCRIPT_AS_FUNCTION
)

// Name is what [Hook]s, figures, events and tests call the script, in place of its SHA1: UTF-8 without control
// characters, 256 bytes at most. The server learns nothing of it.
func Name(name string) ScriptOption { return scriptName(name) }

// Once has each call of a script happen exactly once, as a [ScriptOption], or each of a library's functions, as a
// [LibraryOption]: Once{}, or with fields. A call carries a
// token; its effects and its reply are stored together under that by one atomic execution, and a call that comes
// again with the same token gets that reply and does nothing. So a call is sent again after a lost reply, a lost
// connection or a failover, until its deadline, and its caller gets the reply instead of [ErrIndeterminate].
//
// The library makes a token for each call; for one of your own, a job's id or a request's, see [CallOptions]. Whoever
// makes the same call with the same token, in whichever process, gets what the first one was answered.
//
// Limits: a server forgets a token after Lifetime, or when it evicts it: a maxmemory-policy other than noeviction
// voids all this. A primary that dies before it has replicated a call has lost it and its token: see WaitReplicas.
// The guide says what else there is to know, under "Exactly once". The errors of such calls are [ErrTokenMismatch],
// [ErrReplyNotKept] and [ErrNotReplicated]. Not for a single function of a [Library]: it is the whole of it that has
// Once, or a script that has [AsFunction] too.
type Once struct {
	// Lifetime is how long a server remembers a token, from the last call with it on: a second to a year; 0 is five
	// minutes. A repeat that comes later runs the script again.
	Lifetime time.Duration
	// ReplyLimit is the longest reply in bytes that is kept for repeats: 64 to 64 MiB; 0 is 1 MiB. A longer one
	// reaches the caller that it was made for; a repeat gets [ErrReplyNotKept].
	ReplyLimit int64
	// Prefix is what the keys begin with under which tokens are kept: up to 256 bytes, none of them a {; empty is
	// rs:once:. The user needs the right to GET, SET and PEXPIRE there.
	Prefix string
	// WaitReplicas is how many replicas must have a call before it counts as done, up to 1000.
	WaitReplicas int
	// WaitTimeout is how long they are waited for at each attempt, up to a day; 0 is a second.
	WaitTimeout time.Duration
}

func (o Once) apply(s *scriptSettings) {
	s.flags |= C.RS_SCRIPT_ONCE
	s.once = o
}

func newScriptSettings(options []ScriptOption) (*scriptSettings, *Error) {
	settings := &scriptSettings{}
	for _, option := range options {
		option.apply(settings)
	}
	var err *Error
	settings.numbers, err = settings.once.numbers()
	return settings, err
}

func (o *Once) numbers() (onceNumbers, *Error) {
	if o.Lifetime < 0 || o.WaitTimeout < 0 || o.ReplyLimit < 0 || o.WaitReplicas < 0 {
		return onceNumbers{}, refused(ErrInvalidArgument, "a field of Once is negative")
	}
	return onceNumbers{
		lifetime: uint64(milliseconds(o.Lifetime)), limit: uint64(o.ReplyLimit),
		replicas: uint32(min(o.WaitReplicas, math.MaxUint32)), wait: uint32(min(milliseconds(o.WaitTimeout), math.MaxUint32)),
		prefix: o.Prefix,
	}, nil
}

// prefixPointer is nil where there is none: the library's own is meant then.
func (n *onceNumbers) prefixPointer() *C.char {
	if n.prefix == "" {
		return nil
	}
	return pointerTo(n.prefix)
}

// register makes a script of this source.
func (s *scriptSettings) register(source string) (*nativeScript, *Error) {
	pointer, err := s.registerIn(nil, source)
	if err != nil {
		return nil, err
	}
	return newNativeScript(pointer, source, s.name), nil
}

// function makes a script of the function of this name.
func (s *scriptSettings) function(library *nativeLibrary, name string) (*nativeScript, *Error) {
	pointer, err := s.registerIn(library.pointer, name)
	runtime.KeepAlive(library)
	if err != nil {
		return nil, err
	}
	return newNativeScript(pointer, library.source, s.name), nil
}

func (s *scriptSettings) registerIn(library *C.rs_library, text string) (*C.rs_script, *Error) {
	once := &s.numbers
	var pointer *C.rs_script
	var native *C.rs_error
	status := C.rsscript_register(library, pointerTo(text), C.size_t(len(text)), s.flags,
		pointerTo(s.name), C.size_t(len(s.name)), C.uint64_t(once.lifetime), C.size_t(once.limit),
		once.prefixPointer(), C.size_t(len(once.prefix)), C.size_t(once.replicas), C.uint64_t(once.wait), &pointer, &native)
	if status != C.RS_OK {
		return nil, takeError(native)
	}
	return pointer, nil
}
