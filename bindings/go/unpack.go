// Replies and completions out of the flat bytes of rs_queue_poll_packed; rs_script.h describes the layout.

//go:build cgo

package rsscript

import "strings"

// reader takes the bytes of a completion apart. They are the library's own, and so are not checked again.
type reader struct{ rest string }

func (r *reader) take(count int) string {
	taken := r.rest[:count]
	r.rest = r.rest[count:]
	return taken
}

func (r *reader) byte() byte {
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint32 {
	b := r.take(4)
	return native.Uint32([]byte(b))
}

func (r *reader) integer() int64 {
	return int64(native.Uint64([]byte(r.take(8))))
}

func (r *reader) text() string { return r.take(int(r.number())) }

func (r *reader) failure(status Status, flags byte) *Error {
	err := &Error{Status: status, Indeterminate: flags&packedIndeterminate != 0, NotExecuted: flags&packedNotExecuted != 0}
	err.ServerCode = r.text()
	err.Message = r.text()
	err.Reason = Reason(int32(r.number()))
	err.Index = int(int32(r.number()))
	err.Node = r.text()
	return err.inGo()
}

// cost is what a call has taken; what it keeps is a copy. How long it was in the library nobody asks for.
func (r *reader) cost() cost {
	taken := cost{attempts: int(r.number()), sent: uint64(r.integer()), received: uint64(r.integer())}
	r.integer()
	taken.node = strings.Clone(r.text())
	return taken
}

func (r *reader) reply() Result {
	kind := Kind(r.byte())
	switch kind {
	case KindNil, KindNone:
		return Result{kind: kind}
	case KindInteger:
		return Result{kind: kind, n: r.integer()}
	case KindBoolean:
		return Result{kind: kind, n: int64(r.byte())}
	case KindArray, KindMap, KindSet:
		count := r.number()
		elements := r.rest
		r.skip(count)
		return Result{kind: kind, n: int64(count), data: elements[:len(elements)-len(r.rest)]}
	case KindError:
		status := Status(int32(r.number()))
		return Result{kind: kind, err: r.failure(status, r.byte())}
	case KindVerbatim:
		format := r.take(3)
		return Result{kind: kind, data: format + r.text()}
	default:
		return Result{kind: kind, data: r.text()}
	}
}

// skip passes over so many replies.
func (r *reader) skip(count uint32) {
	for ; count > 0; count-- {
		switch Kind(r.byte()) {
		case KindNil, KindNone:
		case KindInteger:
			r.take(8)
		case KindBoolean:
			r.take(1)
		case KindArray, KindMap, KindSet:
			r.skip(r.number())
		case KindError:
			r.take(5)
			r.text()
			r.text()
			r.take(8)
			r.text()
		case KindVerbatim:
			r.take(3)
			r.text()
		default:
			r.text()
		}
	}
}
