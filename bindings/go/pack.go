// Calls as flat bytes without pointers, as rs_client_submit_packed takes them; rs_script.h describes the layout.

//go:build cgo

package rsscript

/*
#include <rs_script.h>
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	packedCommand  = 0
	packedScript   = 1
	packedPipeline = 2

	packedScriptLoad     = 3
	packedScriptExists   = 4
	packedScriptFlush    = 5
	packedScriptKill     = 6
	packedScriptShow     = 7
	packedKill           = 8
	packedScriptStats    = 9
	packedReauthenticate = 10

	packedLibraryLoad   = 11
	packedLibraryCheck  = 12
	packedLibraryDeploy = 13
	packedLibraryList   = 14
	packedLibraryPrune  = 15

	packedRouted = 16

	packedReadOnly   = 1
	packedIdempotent = 2

	packedAtomic          = 1
	packedRepairUnordered = 2
	packedTrustCache      = 4

	packedToken = 8

	// Of a library.
	packedOnce = 2

	packedIndeterminate = 1
	packedNotExecuted   = 2
	packedArrived       = 4
	packedCost          = 8
)

var native = binary.NativeEndian

// packed holds one call, or the items of a pipeline.
type packed struct {
	buf []byte
	// Where in buf the number of a script belongs, which is known when the call joins a batch.
	scripts []scriptAt
}

type scriptAt struct {
	offset int
	script *nativeScript
}

func (p *packed) reset() {
	p.buf = p.buf[:0]
	clear(p.scripts)
	p.scripts = p.scripts[:0]
}

func (p *packed) number(n int) {
	p.buf = native.AppendUint32(p.buf, uint32(n))
}

// text appends a string.
func text[Text string | []byte](p *packed, s Text) error {
	if len(s) > math.MaxUint32 {
		return fmt.Errorf("is longer than 4 GiB")
	}
	p.number(len(s))
	p.buf = append(p.buf, s...)
	return nil
}

// command appends a command; on an error nothing.
func (p *packed) command(args []any, flags byte) *Error {
	if len(args) == 0 {
		return refused(ErrInvalidArgument, "the command is empty; nothing was sent")
	}
	start := len(p.buf)
	p.head(packedCommand, flags)
	p.number(len(args))
	return p.arguments(start, args)
}

// load appends the loading of a script.
func (p *packed) load(script *nativeScript) {
	p.head(packedScriptLoad, 0)
	p.scripts = append(p.scripts, scriptAt{len(p.buf), script})
	p.number(0)
}

// exists appends the question which of these SHA1s are known; on an error nothing.
func (p *packed) exists(shas []string) *Error {
	start := len(p.buf)
	p.head(packedScriptExists, 0)
	p.number(len(shas))
	for i, sha := range shas {
		if err := text(p, sha); err != nil {
			return p.orBack(start, unusable("SHA1", i, err))
		}
	}
	return nil
}

// show appends the question for a script's source; on an error nothing.
func (p *packed) show(sha string) *Error {
	start := len(p.buf)
	p.head(packedScriptShow, 0)
	if err := text(p, sha); err != nil {
		return p.orBack(start, unusable("SHA1", 0, err))
	}
	return nil
}

// head appends what each call begins with.
func (p *packed) head(kind, flags byte) { p.buf = append(p.buf, kind, flags) }

// library appends what is to be done with a library; on an error nothing.
func (p *packed) library(kind byte, library *nativeLibrary) *Error {
	start := len(p.buf)
	p.head(kind, library.flags)
	if err := p.source(library); err != nil {
		return p.orBack(start, unusable("library", 0, err))
	}
	return nil
}

// source appends what is behind a library's flags.
func (p *packed) source(library *nativeLibrary) error {
	if once := &library.once; library.flags&packedOnce != 0 {
		p.buf = native.AppendUint64(p.buf, once.lifetime)
		p.buf = native.AppendUint64(p.buf, once.limit)
		p.buf = native.AppendUint32(p.buf, once.replicas)
		p.buf = native.AppendUint32(p.buf, once.wait)
		if err := text(p, once.prefix); err != nil {
			return err
		}
	}
	return text(p, library.source)
}

// route appends where the call goes that is appended next, if it has that of its own; on an error nothing.
func (p *packed) route(options *CallOptions) *Error {
	if options.ReadFrom == 0 && options.Route == (Route{}) {
		return nil
	}
	start := len(p.buf)
	p.head(packedRouted, 0)
	p.buf = native.AppendUint32(p.buf, uint32(options.ReadFrom))
	p.buf = native.AppendUint32(p.buf, uint32(options.Route.kind))
	p.buf = native.AppendUint32(p.buf, uint32(options.Route.slot))
	if err := text(p, options.Route.to); err != nil {
		return p.orBack(start, unusable("route", 0, err))
	}
	return nil
}

// prune appends the removal of other versions of these libraries; on an error nothing.
func (p *packed) prune(keep []*Library) *Error {
	start := len(p.buf)
	p.head(packedLibraryPrune, 0)
	p.number(len(keep))
	for i, library := range keep {
		p.buf = append(p.buf, library.native.flags)
		if err := p.source(library.native); err != nil {
			return p.orBack(start, unusable("library", i, err))
		}
	}
	return nil
}

// headWith appends what a call begins with that may have a token; an empty one is none.
func (p *packed) headWith(kind, flags byte, token string) *Error {
	if token == "" {
		p.head(kind, flags)
		return nil
	}
	start := len(p.buf)
	p.head(kind, flags|packedToken)
	if err := text(p, token); err != nil {
		return p.orBack(start, unusable("token", 0, err))
	}
	return nil
}

// script appends a call of a script; on an error nothing.
func (p *packed) script(script *nativeScript, keys []string, args []any, flags byte, token string) *Error {
	start := len(p.buf)
	if err := p.headWith(packedScript, flags, token); err != nil {
		return err
	}
	offset := len(p.buf)
	p.number(0)
	p.number(len(keys))
	p.number(len(args))
	for i, key := range keys {
		if err := text(p, key); err != nil {
			return p.orBack(start, unusable("key", i, err))
		}
	}
	err := p.arguments(start, args)
	if err == nil {
		p.scripts = append(p.scripts, scriptAt{offset, script})
	}
	return err
}

func (p *packed) orBack(start int, err *Error) *Error {
	if err != nil {
		p.buf = p.buf[:start]
	}
	return err
}

func unusable(what string, index int, err error) *Error {
	return refused(ErrInvalidArgument, fmt.Sprintf("%s %d %v; nothing was sent", what, index, err))
}

// arguments appends those of a call that begins at start. On an error, and where one of them panics while it is
// marshalled, nothing is left of the call.
func (p *packed) arguments(start int, args []any) *Error {
	isWhole := false
	defer func() {
		if !isWhole {
			p.buf = p.buf[:start]
		}
	}()
	for i, arg := range args {
		if err := p.argument(arg); err != nil {
			return unusable("argument", i, err)
		}
	}
	isWhole = true
	return nil
}

// A batch gathers calls to be submitted together.
type batch struct {
	buf     []byte
	scripts []*nativeScript
	calls   []*call
	// Those of the scripts, while it is submitted.
	pointers []*C.rs_script
}

// A batch that has grown beyond this is not kept for the next calls.
const keptBatch = 1 << 20

func (b *batch) reset() {
	if cap(b.buf) > keptBatch {
		b.buf = nil
	}
	b.buf = b.buf[:0]
	clear(b.scripts)
	b.scripts = b.scripts[:0]
	clear(b.calls)
	b.calls = b.calls[:0]
}

func (b *batch) add(c *call, timeout uint32) {
	b.buf = native.AppendUint64(b.buf, c.tag)
	b.buf = native.AppendUint32(b.buf, timeout)
	start := len(b.buf)
	b.buf = append(b.buf, c.packed.buf...)
	for _, at := range c.packed.scripts {
		native.PutUint32(b.buf[start+at.offset:], b.indexOf(at.script))
	}
	b.calls = append(b.calls, c)
}

// indexOf finds or adds a script. It looks back a few places only: a script may be listed twice.
func (b *batch) indexOf(script *nativeScript) uint32 {
	const places = 16
	for i := len(b.scripts) - 1; i >= max(0, len(b.scripts)-places); i-- {
		if b.scripts[i] == script {
			return uint32(i)
		}
	}
	b.scripts = append(b.scripts, script)
	return uint32(len(b.scripts) - 1)
}

// pipeline appends a pipeline of items that are packed already.
func (p *packed) pipeline(flags byte, token string, count int, items *packed) *Error {
	if err := p.headWith(packedPipeline, flags, token); err != nil {
		return err
	}
	p.number(count)
	start := len(p.buf)
	p.buf = append(p.buf, items.buf...)
	for _, at := range items.scripts {
		p.scripts = append(p.scripts, scriptAt{start + at.offset, at.script})
	}
	return nil
}
