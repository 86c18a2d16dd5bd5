// Libraries of functions, and what servers have of them.

//go:build cgo

package rsscript

/*
#include <rs_script.h>

static rs_status rsscript_library(const char *source, size_t len, uint32_t flags, uint64_t lifetime, size_t limit,
                                  const char *prefix, size_t prefix_len, size_t replicas, uint64_t wait,
                                  rs_library **library, rs_error **err) {
	rs_library_options options = {.size = sizeof options, .flags = flags};
	options.token_lifetime_ms = lifetime, options.reply_limit = limit;
	options.token_prefix = prefix, options.token_prefix_len = prefix_len;
	options.wait_replicas = replicas, options.wait_timeout_ms = wait;
	return rs_library_register(NULL, source, len, &options, library, err);
}
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
)

// Library is a library of functions. It never changes, and may be used by any number of goroutines.
type Library struct {
	client *Client
	native *nativeLibrary
	err    *Error
}

// nativeLibrary frees its handle when nobody has it any more.
type nativeLibrary struct {
	pointer *C.rs_library
	flags   byte
	// How calls of its functions happen once; empty where they do not.
	once         onceNumbers
	source, name string
}

// LibraryOption says more about a library: [Named], [Once].
type LibraryOption interface{ applyToLibrary(*librarySettings) }

type librarySettings struct {
	flags C.uint32_t
	once  Once
}

type libraryFlag uint32

func (f libraryFlag) applyToLibrary(s *librarySettings) { s.flags |= C.uint32_t(f) }

func (o Once) applyToLibrary(s *librarySettings) {
	s.flags |= C.RS_LIBRARY_ONCE
	s.once = o
}

// Named has a library and its functions keep the names that are written in it, which others may call and replace. It
// is loaded where it is missing, and what is there is never replaced but by [Client.LibraryDeploy].
//
// Without it a library is pinned: a digest of its source is put behind its name and behind those of its functions, so
// that a name means one code, and any number of versions live side by side.
const Named libraryFlag = C.RS_LIBRARY_NAMED

// Library makes a library of exactly these bytes, the first line #!lua name=... Nothing is sent: a call of a function
// loads it where it is missing, in the same write. Whether it compiles shows then.
//
// With [Once] each call of a function of it happens exactly once, as those of a script that has Once; on the server it
// is another library than the one without. Of a function with the flag no-writes nothing could happen twice: it is
// called without a token, and one of your own is refused. A [Named] library cannot have it.
func (c *Client) Library(source string, options ...LibraryOption) *Library {
	var settings librarySettings
	for _, option := range options {
		option.applyToLibrary(&settings)
	}
	library := &Library{client: c}
	var once onceNumbers
	if once, library.err = settings.once.numbers(); library.err != nil {
		return library
	}
	var pointer *C.rs_library
	var native *C.rs_error
	status := C.rsscript_library(pointerTo(source), C.size_t(len(source)), settings.flags, C.uint64_t(once.lifetime),
		C.size_t(once.limit), once.prefixPointer(), C.size_t(len(once.prefix)), C.size_t(once.replicas),
		C.uint64_t(once.wait), &pointer, &native)
	if status != C.RS_OK {
		library.err = takeError(native)
		return library
	}
	library.native = &nativeLibrary{pointer, byte(settings.flags), once, source, C.GoString(C.rs_library_name(pointer))}
	runtime.SetFinalizer(library.native, func(native *nativeLibrary) { C.rs_library_free(native.pointer) })
	return library
}

// Function gives the function of this name, as it is registered in the library's source, to be called as any [Script]
// is: by FCALL, or FCALL_RO. Its library is loaded in front of its first call on a connection, in the same write, and
// again where a server has lost it.
//
// The errors of its calls are also [ErrNoFunction] where the library does not register the function or may not be
// loaded, [ErrCompile] where it does not load, [ErrNotSupported] where the server has no functions. None of these was
// executed.
func (l *Library) Function(name string, options ...ScriptOption) *Script {
	if err := l.unusable(); err != nil {
		return &Script{err: err}
	}
	script := &Script{client: l.client}
	settings, err := newScriptSettings(options)
	if err == nil {
		script.native, err = settings.function(l.native, name)
	}
	script.err = err
	return script
}

// On gives the same library with functions to be called on another client.
func (l *Library) On(client *Client) *Library {
	return &Library{client: client, native: l.native, err: l.unusable()}
}

// unusable is why nothing can be done with it.
func (l *Library) unusable() *Error {
	if l == nil || l.native == nil && l.err == nil {
		return refused(ErrInvalidArgument, "the library is none: it was not made by Client.Library; nothing was sent")
	}
	return l.err
}

// Name is the library's name as servers know it, of a pinned one with the digest behind it.
func (l *Library) Name() string {
	if l.native == nil {
		return ""
	}
	return l.native.name
}

// LibraryState is what a server has of a library.
type LibraryState string

const (
	// LibraryLoaded: [Client.LibraryLoad] has brought it there.
	LibraryLoaded LibraryState = "loaded"
	// LibraryThere: one of its name was there already, and stays as it is.
	LibraryThere LibraryState = "there"
	// LibrarySame: it is there, with the same source.
	LibrarySame LibraryState = "same"
	// LibraryDifferent: one of its name is there, with another source.
	LibraryDifferent LibraryState = "different"
	// LibraryAbsent: none of its name is there.
	LibraryAbsent LibraryState = "absent"
)

// LibraryOnNode is what has become of a library on one server.
type LibraryOnNode struct {
	// Node is the server, host:port, or the path of its socket.
	Node string
	// State is what it has; empty with Err.
	State LibraryState
	// Err is why that is not known, or why it has not got the library.
	Err error
}

// LibraryLoad loads a library into the server; in a cluster, into every primary. There is no need to: a call does it
// by itself. What is there of that name stays as it is. What it tells of each server is [LibraryLoaded],
// [LibraryThere], or why it has not got it; where none has, that is the error: [ErrCompile] for a library that does
// not compile, registers nothing, or registers a function that another library has registered.
func (c *Client) LibraryLoad(ctx context.Context, library *Library) ([]LibraryOnNode, error) {
	return c.administerLibrary(ctx, packedLibraryLoad, library)
}

// LibraryCheck compares a library with the one of its name on the server; in a cluster, on every primary. It changes
// nothing. What it tells of each server is [LibrarySame], [LibraryDifferent] or [LibraryAbsent], or why that is not
// known.
func (c *Client) LibraryCheck(ctx context.Context, library *Library) ([]LibraryOnNode, error) {
	return c.administerLibrary(ctx, packedLibraryCheck, library)
}

// LibraryDeploy puts a library in the place of the one of its name, on the server; in a cluster, on every primary,
// one by one. This is the one place where a library is replaced: a function that the new one lacks is from then on an
// error for all who call it. A pinned library replaces nothing.
//
// What it tells of each server is looked at behind the load: [LibrarySame], or [LibraryDifferent] or [LibraryAbsent]
// if somebody else was at it; or why it has kept what it had. Where none has taken it, that is the error.
func (c *Client) LibraryDeploy(ctx context.Context, library *Library) ([]LibraryOnNode, error) {
	return c.administerLibrary(ctx, packedLibraryDeploy, library)
}

func (c *Client) administerLibrary(ctx context.Context, kind byte, library *Library) ([]LibraryOnNode, error) {
	if err := library.unusable(); err != nil {
		return nil, err
	}
	var told []LibraryOnNode
	err := c.administerNodes(ctx, func(p *packed) *Error { return p.library(kind, library.native) },
		func(node string, reply Result) error {
			state, err := reply.Text()
			if err != nil && reply.Err() == nil {
				return err
			}
			told = append(told, LibraryOnNode{node, LibraryState(state), reply.Err()})
			return nil
		})
	return told, err
}

// LibrariesOnNode is the libraries of one server.
type LibrariesOnNode struct {
	// Node is the server, host:port, or the path of its socket.
	Node string
	// Libraries are those that it has, whoever has loaded them.
	Libraries []LibraryInfo
	// Err is why they are not known.
	Err error
}

// LibraryInfo is a library as a server tells of it.
type LibraryInfo struct {
	Name, Engine string
	Functions    []FunctionInfo
}

// FunctionInfo is a function as a server tells of it.
type FunctionInfo struct {
	// Name is the one to call it by: of a pinned library's with the digest behind it.
	Name string
	// Description is empty where it has none.
	Description string
	// Flags are those that it was registered with, such as no-writes.
	Flags []string
}

// LibraryList tells which libraries the server has; in a cluster, those of every primary.
func (c *Client) LibraryList(ctx context.Context) ([]LibrariesOnNode, error) {
	var told []LibrariesOnNode
	err := c.administerNodes(ctx, func(p *packed) *Error {
		p.head(packedLibraryList, 0)
		return nil
	}, func(node string, reply Result) error {
		if reply.Err() != nil {
			told = append(told, LibrariesOnNode{Node: node, Err: reply.Err()})
			return nil
		}
		libraries, err := listOf(reply, libraryInfo)
		told = append(told, LibrariesOnNode{Node: node, Libraries: libraries})
		return err
	})
	return told, err
}

// PrunedOnNode is what was removed from one server.
type PrunedOnNode struct {
	// Node is the server, host:port, or the path of its socket.
	Node string
	// Removed are the names of the libraries that are gone.
	Removed []string
	// Err is why one of them was not removed. It names those that were.
	Err error
}

// LibraryPrune removes the other versions of these pinned libraries from the server; in a cluster, from every
// primary. Libraries that are not pinned, or were not called like one of these, stay. Nothing is ever removed but by
// this: who still calls a version that is gone has it loaded again. [ErrInvalidArgument] for no library, and for one
// that is [Named].
func (c *Client) LibraryPrune(ctx context.Context, keep ...*Library) ([]PrunedOnNode, error) {
	for _, library := range keep {
		if err := library.unusable(); err != nil {
			return nil, err
		}
	}
	var told []PrunedOnNode
	err := c.administerNodes(ctx, func(p *packed) *Error { return p.prune(keep) },
		func(node string, reply Result) error {
			if reply.Err() != nil {
				told = append(told, PrunedOnNode{Node: node, Err: reply.Err()})
				return nil
			}
			removed, err := listOf(reply, func(name Result) (string, error) { return name.Text() })
			told = append(told, PrunedOnNode{Node: node, Removed: removed})
			return err
		})
	return told, err
}

// administerNodes has every primary do something, and tells what each has said.
func (c *Client) administerNodes(
	ctx context.Context, pack func(*packed) *Error, tell func(string, Result) error,
) error {
	elements, err := c.administer(ctx, pack).Slice()
	for i := 0; i+1 < len(elements) && err == nil; i += 2 {
		var node string
		if node, err = elements[i].Text(); err == nil {
			err = tell(node, elements[i+1])
		}
	}
	return err
}

func listOf[T any](reply Result, read func(Result) (T, error)) ([]T, error) {
	elements, err := reply.Slice()
	list := make([]T, len(elements))
	for i := range elements {
		if err == nil {
			list[i], err = read(elements[i])
		}
	}
	return list, err
}

// pairsOf reads a map, or the array of names and values that stands for it in RESP2.
func pairsOf(reply Result) (map[string]Result, error) {
	elements, err := reply.Slice()
	fields := map[string]Result{}
	for i := 0; i+1 < len(elements) && err == nil; i += 2 {
		var name string
		name, err = elements[i].Text()
		fields[name] = elements[i+1]
	}
	return fields, err
}

func libraryInfo(reply Result) (info LibraryInfo, err error) {
	fields, err := pairsOf(reply)
	if err != nil {
		return info, err
	}
	name, nameErr := fields["library_name"].Text()
	engine, engineErr := fields["engine"].Text()
	functions, err := listOf(fields["functions"], functionInfo)
	return LibraryInfo{name, engine, functions}, errors.Join(nameErr, engineErr, err)
}

func functionInfo(reply Result) (info FunctionInfo, err error) {
	fields, err := pairsOf(reply)
	if err != nil {
		return info, err
	}
	name, nameErr := fields["name"].Text()
	description, err := fields["description"].Text()
	if errors.Is(err, ErrNil) {
		err = nil
	}
	flags, flagsErr := listOf(fields["flags"], func(flag Result) (string, error) { return flag.Text() })
	return FunctionInfo{name, description, flags}, errors.Join(nameErr, err, flagsErr)
}
