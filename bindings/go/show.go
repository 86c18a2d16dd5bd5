// Results as people and logs read them.

//go:build cgo

package rsscript

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// String shows all of it, for debugging.
func (r Result) String() string {
	var b strings.Builder
	r.show(&b, int(^uint(0)>>1))
	return b.String()
}

// mostLogged is how many bytes of a reply a log gets, about.
const mostLogged = 1024

// LogValue is what [log/slog] prints of it: numbers and bool as they are, a reply's beginning where it is long, or
// the error.
func (r Result) LogValue() slog.Value {
	switch r.kind {
	case KindNone, KindError:
		return slog.AnyValue(errorOf(r.err))
	case KindNil:
		return slog.AnyValue(nil)
	case KindInteger:
		return slog.Int64Value(r.n)
	case KindBoolean:
		return slog.BoolValue(r.n != 0)
	case KindArray, KindMap, KindSet:
		var b strings.Builder
		r.show(&b, mostLogged)
		return slog.StringValue(b.String())
	}
	text, _ := r.Text()
	if left := len(text) - mostLogged; left > 0 {
		return slog.StringValue(fmt.Sprintf("%s... and %d bytes more", text[:mostLogged], left))
	}
	return slog.StringValue(text)
}

// show writes it, and leaves out what is behind about so many bytes.
func (r Result) show(b *strings.Builder, most int) {
	switch r.kind {
	case KindNone, KindError:
		fmt.Fprintf(b, "error(%v)", r.err)
	case KindNil:
		b.WriteString("nil")
	case KindBoolean:
		b.WriteString(strconv.FormatBool(r.n != 0))
	case KindInteger:
		b.WriteString(strconv.FormatInt(r.n, 10))
	case KindArray, KindMap, KindSet:
		b.WriteString(r.kind.String())
		b.WriteByte('[')
		elements, _ := r.elements()
		for i := range r.n {
			if i > 0 {
				b.WriteByte(' ')
			}
			if b.Len() >= most {
				fmt.Fprintf(b, "... and %d more", r.n-i)
				break
			}
			elements.next().show(b, most)
		}
		b.WriteByte(']')
	default:
		text, _ := r.Text()
		if left := len(text) - max(most-b.Len(), 0); left > 0 {
			text = text[:len(text)-left]
			fmt.Fprintf(b, "%q... and %d bytes more", text, left)
			return
		}
		b.WriteString(strconv.Quote(text))
	}
}
