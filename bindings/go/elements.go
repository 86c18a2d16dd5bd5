// The elements of a reply, one after the other.

//go:build cgo

package rsscript

import (
	"iter"
	"strings"
)

// A reply lies in one piece of memory, which any part of it would keep. So where the piece is larger than `most`,
// what is not larger is copied out of it: by itself, or where it is smaller than `together` with its neighbours.
const (
	together = 32 << 10
	most     = 2 * together
	// More than stands in front of an aggregate's elements.
	head = 16
)

// elements reads the elements of an aggregate.
type elements struct {
	rest string
	// What was copied and is not read yet.
	copied string
	// Whether the whole is so large that its small elements are copied.
	copies bool
}

func (r Result) elements() (elements, error) {
	switch r.kind {
	case KindArray, KindMap, KindSet:
		return elements{rest: r.data, copies: len(r.data)+head > most}, nil
	}
	return elements{}, r.is("an array")
}

// next reads an element; there is one.
func (e *elements) next() Result {
	if !e.copies {
		return takeFrom(&e.rest)
	}
	if e.copied == "" {
		r := reader{e.rest}
		size := 0
		for size < together && r.rest != "" {
			r.skip(1)
			// Of several no more than fit, and of one whatever it takes.
			next := len(e.rest) - len(r.rest)
			if size > 0 && next > most {
				break
			}
			size = next
		}
		if size > most {
			return takeFrom(&e.rest)
		}
		e.copied, e.rest = strings.Clone(e.rest[:size]), e.rest[size:]
	}
	return takeFrom(&e.copied)
}

func takeFrom(text *string) Result {
	r := reader{*text}
	result := r.reply()
	*text = r.rest
	return result
}

// All goes through the elements of an array or set; of a map, through its keys and values in turn, see also
// [Result.Pairs]. What has no elements, such as an error or nil, is its own and only one, so that nothing is
// overlooked.
func (r Result) All() iter.Seq[Result] {
	return func(yield func(Result) bool) {
		elements, err := r.elements()
		if err != nil {
			yield(r)
			return
		}
		for range r.n {
			if !yield(elements.next()) {
				return
			}
		}
	}
}

// Pairs goes through the keys and values of a map, and of an array of keys and values in turn, which is how RESP2
// gives a map. What is no map, such as an error or nil, comes once, with an empty key; so does a key that is no
// text.
func (r Result) Pairs() iter.Seq2[string, Result] {
	return func(yield func(string, Result) bool) {
		elements, err := r.elements()
		if err != nil || !r.isMap() {
			yield("", r)
			return
		}
		for range r.n / 2 {
			key, value := elements.next(), elements.next()
			text, err := key.Text()
			if err != nil {
				value = key
			}
			if !yield(text, value) {
				return
			}
		}
	}
}
