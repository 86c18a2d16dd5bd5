// What a call gave: a reply of any type, or an error.

//go:build cgo

package rsscript

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Kind is what a reply is.
type Kind uint8

const (
	// KindNone: there is no reply, but an error of the call.
	KindNone Kind = 0
	// KindNil is no value: Lua's nil, and its false with RESP2.
	KindNil Kind = 1
	// KindStatus is a status such as OK; a text.
	KindStatus Kind = 2
	// KindError is an error inside an array or a pipeline; see [Result.Err].
	KindError Kind = 3
	// KindInteger is a signed 64-bit integer.
	KindInteger Kind = 4
	// KindString is a string of bytes.
	KindString Kind = 5
	// KindArray is a sequence of replies.
	KindArray Kind = 6
	// KindMap is a sequence of keys and values in turn; RESP3.
	KindMap Kind = 7
	// KindSet is a sequence without order; RESP3.
	KindSet Kind = 8
	// KindDouble is a floating-point number; RESP3.
	KindDouble Kind = 9
	// KindBoolean is true or false; RESP3.
	KindBoolean Kind = 10
	// KindBigNumber is an integer of any size; RESP3.
	KindBigNumber Kind = 11
	// KindVerbatim is a text with a format of three letters; RESP3.
	KindVerbatim Kind = 12
)

var kindNames = [...]string{
	"nothing", "nil", "status", "error", "integer", "string", "array", "map", "set", "double", "boolean",
	"big number", "verbatim text",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Result is what a call gave: a reply, or an error. It is a value that never changes, and may be kept, copied and
// read by any number of goroutines.
//
// The methods that give a value give the call's error where there is one, and a [*TypeError] where the reply is
// something else. An error inside an array, a map or a pipeline is a Result of its own, whose methods give that
// error.
type Result struct {
	kind Kind
	// An integer; a boolean as 1 or 0; the number of elements.
	n int64
	// The bytes of anything that is a string, with a verbatim text's format in front; the packed elements of an
	// array, map or set.
	data string
	err  *Error
}

// TypeError says that a reply is not what it was asked for. [errors.Is] with [ErrNil] tells whether it was nil.
type TypeError struct {
	// Kind is what the reply is.
	Kind Kind
	// Wanted is what it was asked for, such as "an integer".
	Wanted string

	// What is wrong with the reply where its kind is not.
	misfit string
}

func (e *TypeError) Error() string {
	if e.misfit != "" {
		return "rsscript: " + e.misfit
	}
	return fmt.Sprintf("rsscript: the reply is %s, not %s", article(e.Kind), e.Wanted)
}

func article(kind Kind) string {
	switch kind {
	case KindNil, KindNone:
		return kind.String()
	case KindError, KindInteger, KindArray:
		return "an " + kind.String()
	default:
		return "a " + kind.String()
	}
}

// Is makes [errors.Is] find [ErrNil].
func (e *TypeError) Is(target error) bool {
	return target == ErrNil && e.Kind == KindNil
}

func failed(err *Error) Result { return Result{err: err} }

// Err is the error of the call, or of this element of a reply; nil where there is a value. It is an [*Error].
func (r Result) Err() error { return errorOf(r.err) }

// Kind is what the reply is; [KindNone] if the call failed.
func (r Result) Kind() Kind { return r.kind }

// IsNil tells whether the reply is nil.
func (r Result) IsNil() bool { return r.kind == KindNil }

func (r Result) is(wanted string) error {
	if r.err != nil {
		return r.err
	}
	return &TypeError{Kind: r.kind, Wanted: wanted}
}

// Int64 is the value of an integer, and of a string that is one, such as that of GET; a boolean is 1 or 0.
func (r Result) Int64() (int64, error) {
	switch r.kind {
	case KindInteger, KindBoolean:
		return r.n, nil
	case KindString, KindStatus, KindBigNumber:
		if n, err := strconv.ParseInt(r.data, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, r.is("an integer")
}

// Float64 is the value of a double or an integer, and of a string that is one.
func (r Result) Float64() (float64, error) {
	switch r.kind {
	case KindInteger:
		return float64(r.n), nil
	case KindDouble, KindString, KindStatus, KindBigNumber:
		// Servers may write a sign before it, which ParseFloat refuses.
		if r.kind == KindDouble && strings.HasSuffix(r.data, "nan") {
			return math.NaN(), nil
		}
		if f, err := strconv.ParseFloat(r.data, 64); err == nil {
			return f, nil
		}
	}
	return 0, r.is("a number")
}

// BigInt is the value of an integer of any size.
func (r Result) BigInt() (*big.Int, error) {
	switch r.kind {
	case KindInteger:
		return big.NewInt(r.n), nil
	case KindBigNumber, KindString, KindStatus:
		if n, ok := new(big.Int).SetString(r.data, 10); ok {
			return n, nil
		}
	}
	return nil, r.is("an integer")
}

// Bool is the value of a boolean, and of what servers give in its place: 1 and 0, and nil for Lua's false with RESP2.
func (r Result) Bool() (bool, error) {
	switch {
	case r.kind == KindBoolean, r.kind == KindInteger && (r.n == 0 || r.n == 1):
		return r.n != 0, nil
	case r.kind == KindNil:
		return false, nil
	}
	return false, r.is("a boolean")
}

// Text is a string, status, verbatim text, or number as the server wrote it. Any byte may be in it. It is not copied: a
// text of more than 64 KiB keeps all of the reply in memory that it is part of, a shorter one no more than 64 KiB;
// [strings.Clone] frees it of that.
func (r Result) Text() (string, error) {
	switch r.kind {
	case KindString, KindStatus, KindDouble, KindBigNumber:
		return r.data, nil
	case KindVerbatim:
		return r.data[3:], nil
	case KindInteger:
		return strconv.FormatInt(r.n, 10), nil
	}
	return "", r.is("a string")
}

// Bytes is the same as bytes, which are the caller's own.
func (r Result) Bytes() ([]byte, error) {
	text, err := r.Text()
	if err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// VerbatimFormat is the format of a verbatim text, such as "txt"; empty for all else.
func (r Result) VerbatimFormat() string {
	if r.kind == KindVerbatim {
		return r.data[:3]
	}
	return ""
}

// Len is the number of elements of an array, set or map, where keys and values both count, or the number of bytes of
// a string.
func (r Result) Len() int {
	switch r.kind {
	case KindArray, KindMap, KindSet:
		return int(r.n)
	case KindVerbatim:
		return len(r.data) - 3
	}
	return len(r.data)
}

// Slice is the elements of an array or set; of a map, its keys and values in turn.
func (r Result) Slice() ([]Result, error) {
	elements, err := r.elements()
	if err != nil {
		return nil, err
	}
	slice := make([]Result, r.n)
	for i := range slice {
		slice[i] = elements.next()
	}
	return slice, nil
}

// Strings is the elements of an array or set of which each is a text.
func (r Result) Strings() ([]string, error) {
	elements, err := r.Slice()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(elements))
	for i, element := range elements {
		if texts[i], err = element.Text(); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return texts, nil
}

// isMap tells whether it is a map, also as RESP2 has one.
func (r Result) isMap() bool { return r.kind == KindMap || r.kind == KindArray && r.n%2 == 0 }

// Map is the values of a map by their keys, as texts. An array of keys and values in turn, which is how RESP2 gives a
// map, is taken too.
func (r Result) Map() (map[string]Result, error) {
	if !r.isMap() {
		return nil, r.is("a map")
	}
	elements, err := r.elements()
	if err != nil {
		return nil, err
	}
	values := make(map[string]Result, r.n/2)
	for i := range r.n / 2 {
		key, err := elements.next().Text()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		values[key] = elements.next()
	}
	return values, nil
}
