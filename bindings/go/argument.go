// Arguments: what of Go's values can be sent, and as what.

//go:build cgo

package rsscript

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

func (p *packed) argument(arg any) error {
	switch arg := arg.(type) {
	case string:
		return text(p, arg)
	case []byte:
		return text(p, arg)
	case int:
		p.integer(int64(arg))
	case int64:
		p.integer(arg)
	case int32:
		p.integer(int64(arg))
	case int16:
		p.integer(int64(arg))
	case int8:
		p.integer(int64(arg))
	case uint:
		p.unsigned(uint64(arg))
	case uint64:
		p.unsigned(arg)
	case uint32:
		p.unsigned(uint64(arg))
	case uint16:
		p.unsigned(uint64(arg))
	case uint8:
		p.unsigned(uint64(arg))
	case float64:
		p.float(arg, 64)
	case float32:
		p.float(float64(arg), 32)
	case bool:
		return text(p, digit(arg))
	default:
		return p.otherArgument(arg)
	}
	return nil
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// otherArgument appends what is not of a built-in type. What could be meant in more than one way is refused, with
// what to send instead.
func (p *packed) otherArgument(arg any) error {
	v := reflect.ValueOf(arg)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New(`is nil, which no argument can be; send "", or whatever the script takes for none`)
	}
	switch arg := arg.(type) {
	case time.Time, *time.Time:
		return errors.New("is a time.Time, which could be sent in many ways; say which: " +
			"t.Unix(), t.UnixMilli(), t.Format(time.RFC3339Nano), ...")
	case time.Duration, *time.Duration:
		return errors.New("is a time.Duration, which could be sent in many ways; say which: " +
			"d.Milliseconds(), int64(d/time.Second), d.String(), ...")
	case encoding.BinaryMarshaler:
		bytes, err := arg.MarshalBinary()
		if err != nil {
			return fmt.Errorf("cannot be marshalled: %w", err)
		}
		if isOfTime(v, bytes) {
			return errors.New("has its MarshalBinary from the time.Time in it, which could be sent in many ways; " +
				"say which: its Unix(), UnixMilli(), Format(time.RFC3339Nano), ...")
		}
		return text(p, bytes)
	}
	// A type of the program's own, which is sent as what it is made of.
	switch {
	case v.Kind() == reflect.String:
		return text(p, v.String())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return text(p, v.Bytes())
	case v.Kind() == reflect.Bool:
		return text(p, digit(v.Bool()))
	case v.CanInt():
		p.integer(v.Int())
	case v.CanUint():
		p.unsigned(v.Uint())
	case v.CanFloat():
		p.float(v.Float(), v.Type().Bits())
	default:
		return fmt.Errorf("is of type %T; what can be sent is strings, []byte, numbers, bool, types made of these, "+
			"and encoding.BinaryMarshaler", arg)
	}
	return nil
}

// isOfTime tells whether the bytes that stand for v are those of a time.Time that is embedded in it: its method is
// v's own then, unless v's type has another one.
func isOfTime(v reflect.Value, bytes []byte) bool {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return false
	}
	for i := range v.NumField() {
		if !v.Type().Field(i).Anonymous {
			continue
		}
		field := v.Field(i)
		if field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		if field.CanInterface() {
			switch embedded := field.Interface().(type) {
			case time.Time, *time.Time:
				own, err := embedded.(encoding.BinaryMarshaler).MarshalBinary()
				return err == nil && string(own) == string(bytes)
			}
		}
		if field.Kind() == reflect.Struct && isOfTime(field, bytes) {
			return true
		}
	}
	return false
}

// The length goes in front, so that the digits are appended where they belong.
func (p *packed) digits(appendTo func([]byte) []byte) {
	start := len(p.buf)
	p.number(0)
	p.buf = appendTo(p.buf)
	native.PutUint32(p.buf[start:], uint32(len(p.buf)-start-4))
}

func (p *packed) integer(n int64) {
	p.digits(func(to []byte) []byte { return strconv.AppendInt(to, n, 10) })
}

func (p *packed) unsigned(n uint64) {
	p.digits(func(to []byte) []byte { return strconv.AppendUint(to, n, 10) })
}

func (p *packed) float(n float64, bits int) {
	p.digits(func(to []byte) []byte { return strconv.AppendFloat(to, n, 'g', -1, bits) })
}
