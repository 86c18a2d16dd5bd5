// Replies into variables of the caller's.

//go:build cgo

package rsscript

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"time"
)

// Scanner is implemented by types that take a reply themselves; see [Result.Scan].
type Scanner interface {
	ScanResult(Result) error
}

// Scan puts the elements of an array or set into what dest points to, one into each, and anything else into the only
// one:
//
//	var name string
//	var visits int
//	err := client.Do(ctx, "HMGET", "user:1", "name", "visits").Scan(&name, &visits)
//
// A destination may point to string, []byte, bool, any integer or floating-point type, types that are made of these,
// [big.Int], [Result] and any; to a slice, which takes an array or a set; to a map or a struct, which takes a map,
// see below; and to a pointer, which is nil where the reply is. It may be a [Scanner], an [encoding.TextUnmarshaler]
// or else an [encoding.BinaryUnmarshaler]. (What is both, as a netip.Addr, is read as text. As an argument it goes in
// its binary form: send its String() where it is to be scanned again.) A single slice, map or struct takes the reply
// as a whole. An integer that does not fit is an error, and so is nil for what has no nil, for which [errors.Is] holds
// with [ErrNil]. So is another number of elements than of destinations; a destination that is nil leaves one out.
//
// Of a struct each exported field takes the value of the key in its tag, as in `redis:"name"`; without one, that of
// the field's own name, in whatever case. `redis:"-"` leaves it out. What has no field is left out; a field without
// a key, and one whose value is nil, stays as it is. Fields of embedded structs count as the struct's own. A map
// comes as HGETALL gives it, with RESP3 or RESP2.
func (r Result) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if len(dest) == 1 && (!r.isAggregate() || isWhole(dest[0])) {
		return r.into(dest[0])
	}
	elements, err := r.elements()
	if err != nil {
		return r.is(fmt.Sprintf("an array of %d", len(dest)))
	}
	if int(r.n) != len(dest) {
		return r.misfit(fmt.Sprintf("an array of %d", len(dest)),
			fmt.Sprintf("the reply has %d elements, and there are %d destinations", r.n, len(dest)))
	}
	for i := range dest {
		if element := elements.next(); dest[i] != nil {
			if err := element.into(dest[i]); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
	}
	return nil
}

// As is the reply as a T: what [Result.Scan] would put into one.
//
//	names, err := rsscript.As[[]string](client.Do(ctx, "LRANGE", "names", 0, -1))
func As[T any](r Result) (T, error) {
	var value T
	if err := r.into(&value); err != nil {
		var none T
		return none, err
	}
	return value, nil
}

func (r Result) isAggregate() bool {
	return r.kind == KindArray || r.kind == KindMap || r.kind == KindSet
}

// isWhole tells whether a destination takes an aggregate rather than one of its elements.
func isWhole(dest any) bool {
	switch dest.(type) {
	case *[]byte, *big.Int, encoding.TextUnmarshaler, encoding.BinaryUnmarshaler:
		return false
	case *Result, *any, Scanner:
		return true
	}
	t := reflect.TypeOf(dest)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Struct)
}

// into puts the reply into what dest points to.
func (r Result) into(dest any) error {
	v := reflect.ValueOf(dest)
	if r.err == nil && (!v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()) {
		return fmt.Errorf("rsscript: the destination, of type %T, is not a pointer to anything", dest)
	}
	if r.err != nil {
		if result, ok := dest.(*Result); ok && result != nil {
			*result = r
		}
		return r.err
	}
	var err error
	switch dest := dest.(type) {
	case *Result:
		*dest = r
		return nil
	case *string:
		return set(dest, r.Text)
	case *[]byte:
		if r.kind == KindNil {
			*dest = nil
			return nil
		}
		return set(dest, r.Bytes)
	case *int64:
		return set(dest, r.Int64)
	case *float64:
		return set(dest, r.Float64)
	case *bool:
		return set(dest, r.scannedBool)
	case *any:
		*dest, err = r.value()
		return err
	case *big.Int:
		n, err := r.BigInt()
		if err == nil {
			dest.Set(n)
		}
		return err
	}
	if v.Kind() == reflect.Pointer {
		return r.intoValue(v.Elem())
	}
	if takes, err := r.intoOwn(dest); takes {
		return err
	}
	return fmt.Errorf("rsscript: the destination, of type %T, is not a pointer to anything", dest)
}

func set[T any](dest *T, value func() (T, error)) error {
	got, err := value()
	if err == nil {
		*dest = got
	}
	return err
}

// scannedBool is Bool, but for nil, which may be a missing value and no Lua's false; and for 1 and 0 as texts, as
// arguments are sent.
func (r Result) scannedBool() (bool, error) {
	switch {
	case r.kind == KindNil:
		return false, r.is("a boolean")
	case r.kind == KindString && r.data == "1":
		return true, nil
	case r.kind == KindString && r.data == "0":
		return false, nil
	}
	return r.Bool()
}

// value is the reply as Go's own types have it.
func (r Result) value() (any, error) {
	switch r.kind {
	case KindNone, KindError:
		return nil, r.is("a value")
	case KindNil:
		return nil, nil
	case KindInteger:
		return r.n, nil
	case KindBoolean:
		return r.n != 0, nil
	case KindDouble:
		return r.Float64()
	case KindBigNumber:
		return r.BigInt()
	case KindArray, KindSet:
		return As[[]any](r)
	case KindMap:
		return As[map[string]any](r)
	}
	return r.Text()
}

// intoOwn has a destination take the reply that does so itself; false where it does not.
func (r Result) intoOwn(dest any) (bool, error) {
	switch dest := dest.(type) {
	case Scanner:
		return true, dest.ScanResult(r)
	case encoding.TextUnmarshaler:
		text, err := r.Text()
		if err != nil {
			return true, err
		}
		return true, dest.UnmarshalText([]byte(text))
	case encoding.BinaryUnmarshaler:
		text, err := r.Text()
		if err != nil {
			return true, err
		}
		return true, dest.UnmarshalBinary([]byte(text))
	}
	return false, nil
}

func (r Result) intoValue(v reflect.Value) error {
	if v.CanAddr() {
		switch dest := v.Addr().Interface().(type) {
		case *time.Duration:
			return errors.New("rsscript: nothing says what of a time.Duration a number is; scan into an integer, and multiply")
		// They have methods of these kinds, and are scanned otherwise.
		case *Result, *big.Int:
			return r.into(dest)
		default:
			if takes, err := r.intoOwn(dest); takes {
				return err
			}
		}
	}
	if r.kind == KindNil {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
			v.SetZero()
			return nil
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		made := reflect.New(v.Type().Elem())
		if err := r.intoValue(made.Elem()); err != nil {
			return err
		}
		v.Set(made)
		return nil
	case reflect.String:
		text, err := r.Text()
		if err == nil {
			v.SetString(text)
		}
		return err
	case reflect.Bool:
		b, err := r.scannedBool()
		if err == nil {
			v.SetBool(b)
		}
		return err
	case reflect.Slice:
		return r.intoSlice(v)
	case reflect.Map:
		return r.intoMap(v)
	case reflect.Struct:
		return r.intoStruct(v)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			value, err := r.value()
			if err == nil && value != nil {
				v.Set(reflect.ValueOf(value))
			}
			return err
		}
	}
	switch {
	case v.CanInt():
		n, err := r.Int64()
		if err == nil && v.OverflowInt(n) {
			return r.tooLarge(v)
		}
		if err == nil {
			v.SetInt(n)
		}
		return err
	case v.CanUint():
		n, err := r.uint64()
		if err == nil && v.OverflowUint(n) {
			return r.tooLarge(v)
		}
		if err == nil {
			v.SetUint(n)
		}
		return err
	case v.CanFloat():
		f, err := r.Float64()
		if err == nil && v.OverflowFloat(f) && !math.IsInf(f, 0) {
			return r.tooLarge(v)
		}
		if err == nil {
			v.SetFloat(f)
		}
		return err
	}
	return fmt.Errorf("rsscript: nothing can be scanned into a %v", v.Type())
}

func (r Result) tooLarge(v reflect.Value) error {
	text, _ := r.Text()
	return r.misfit(fmt.Sprintf("a %v", v.Type()), fmt.Sprintf("%.40s does not fit into a %v", text, v.Type()))
}

// misfit is the error of a reply of the right kind that does not fit all the same.
func (r Result) misfit(wanted, why string) error {
	return &TypeError{Kind: r.kind, Wanted: wanted, misfit: why}
}

// uint64 is an integer that is not negative.
func (r Result) uint64() (uint64, error) {
	n, err := r.BigInt()
	if r.kind == KindBoolean {
		return uint64(r.n), nil
	}
	if err != nil || !n.IsUint64() {
		return 0, r.is("an integer from 0 to 18446744073709551615")
	}
	return n.Uint64(), nil
}

func (r Result) intoSlice(v reflect.Value) error {
	if v.Type().Elem().Kind() == reflect.Uint8 && !r.isAggregate() {
		bytes, err := r.Bytes()
		if err == nil {
			v.SetBytes(bytes)
		}
		return err
	}
	elements, err := r.elements()
	if err != nil {
		return err
	}
	slice := reflect.MakeSlice(v.Type(), int(r.n), int(r.n))
	for i := range slice.Len() {
		if err := elements.next().into(slice.Index(i).Addr().Interface()); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	v.Set(slice)
	return nil
}

func (r Result) intoMap(v reflect.Value) error {
	elements, err := r.elements()
	if err != nil || !r.isMap() {
		return r.is("a map")
	}
	t := v.Type()
	made := reflect.MakeMapWithSize(t, int(r.n/2))
	for i := range r.n / 2 {
		key, value := reflect.New(t.Key()), reflect.New(t.Elem())
		if err := elements.next().into(key.Interface()); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		// What stands in an any may be a slice or a map.
		if !key.Elem().Comparable() {
			return r.misfit("a map", fmt.Sprintf("key %d: a %T cannot be the key of a map", i, key.Elem().Interface()))
		}
		if err := elements.next().into(value.Interface()); err != nil {
			return fmt.Errorf("value of %v: %w", key.Elem(), err)
		}
		made.SetMapIndex(key.Elem(), value.Elem())
	}
	v.Set(made)
	return nil
}

func (r Result) intoStruct(v reflect.Value) error {
	elements, err := r.elements()
	if err != nil || !r.isMap() {
		return r.is("a map")
	}
	fields := fieldsOf(v.Type())
	for i := range r.n / 2 {
		key, err := elements.next().Text()
		if err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		value := elements.next()
		field, ok := fields.find(key)
		if !ok || value.IsNil() {
			continue
		}
		if err := value.into(field.of(v).Addr().Interface()); err != nil {
			return fmt.Errorf("value of %s: %w", key, err)
		}
	}
	return nil
}

// fields are those of a struct that take values, by the keys of these.
type fields struct{ tagged, untagged map[string]field }

// field is where a field stands in a struct: its index, inside those of the structs that embed it.
type field []int

// known has the fields of types that have been scanned into.
var known sync.Map

func fieldsOf(t reflect.Type) fields {
	if found, ok := known.Load(t); ok {
		return found.(fields)
	}
	found := fields{map[string]field{}, map[string]field{}}
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("redis"), ",")
		switch {
		case tag == "-" || !f.IsExported() || f.Anonymous && tag == "" || !isReachable(t, f.Index):
		case tag != "":
			found.tagged[tag] = f.Index
		default:
			found.untagged[strings.ToLower(f.Name)] = f.Index
		}
	}
	known.Store(t, found)
	return found
}

// isReachable tells whether a field can be set where the pointers on the way to it are nil: those to types that are
// not exported cannot.
func isReachable(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		f := t.Field(i)
		t = f.Type
		if t.Kind() == reflect.Pointer {
			if !f.IsExported() {
				return false
			}
			t = t.Elem()
		}
	}
	return true
}

func (f fields) find(key string) (field, bool) {
	if found, ok := f.tagged[key]; ok {
		return found, true
	}
	found, ok := f.untagged[strings.ToLower(key)]
	return found, ok
}

// of is the field of that struct; embedded pointers on the way are set.
func (f field) of(v reflect.Value) reflect.Value {
	for i, index := range f {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(index)
	}
	return v
}
