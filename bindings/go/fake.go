// Clients whose calls a test answers: what package rstest stands on.

//go:build cgo

package rsscript

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rs-script/rs_script/bindings/go/internal/fake"
)

func init() {
	fake.Open = func(answer fake.Answer, options any) (any, error) {
		settings, err := newSettings(context.Background(), options.([]Option))
		if err != nil {
			return nil, err
		}
		defer settings.free()
		return &Client{engine: &engine{
			fake: answer, hooks: settings.hooks, events: settings.events, login: settings.login,
			idle: make(chan struct{}), closeDone: make(chan struct{}),
		}}, nil
	}
	fake.Result = func(reply any) any {
		result, err := madeResult(context.Background(), reply)
		if err == nil {
			err = result.err
		}
		if err != nil {
			return failed(err)
		}
		return result
	}
}

// answer has the fake answer a call.
func (e *engine) answer(ctx context.Context, c *call, unpacked *packedCall) {
	if ctx.Err() != nil {
		c.result = failed(ended(ctx))
		return
	}
	var replies packed
	for i := range unpacked.items {
		var result Result
		err := e.closedFake()
		if err == nil {
			result, err = e.answerItem(ctx, unpacked.faked(i))
		}
		if err == nil && !unpacked.isPipeline {
			c.result = result
			if result.err != nil {
				c.result = failed(result.err)
			}
			return
		}
		if err != nil {
			if unpacked.isPipeline {
				if err.NotExecuted && i > 0 {
					// Those before it were executed.
					err = failureOf(ctx, lostBy(err))
				}
				if err.Status != ErrClosed {
					err.Index = i
				}
				if i > 0 && !unpacked.isAtomic {
					c.arrived = aggregate(KindArray, i, replies)
				}
			}
			c.result = failed(err)
			return
		}
		if result.err != nil {
			own := *result.err
			own.Index, own.Message = i, fmt.Sprintf("item %d (%s): %s", i, unpacked.items[i].operation(), own.Message)
			result.err = &own
		}
		replies.result(result)
	}
	c.result = aggregate(KindArray, len(unpacked.items), replies)
}

// closedFake is the error of calls where a fake is closed.
func (e *engine) closedFake() *Error {
	select {
	case <-e.closeDone:
		return closedError()
	default:
		return nil
	}
}

// answerItem gives the reply to an item, or why there is none to the call.
func (e *engine) answerItem(ctx context.Context, call *fake.Call) (Result, *Error) {
	reply := e.fake(ctx, call)
	if failure, ok := reply.(fake.Failure); ok && failure.IsSilence {
		// A client ends such a call at its own deadline, if nothing else does.
		if ctx.Done() != nil {
			select {
			case <-ctx.Done():
			case <-e.closeDone:
				failure.Reason, failure.Message = int32(ReasonClosed), closedMeanwhile
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				failure.Reason, failure.Message = int32(ReasonCancelled), "the call was cancelled; it may have been executed"
			}
		}
		reply = failure
	}
	return madeResult(ctx, reply)
}

const closedMeanwhile = "the client was closed; the call may have been executed"

// lostBy is how a pipeline ends of which this befell an item behind others.
func lostBy(err *Error) fake.Failure {
	lost := fake.Failure{
		Status: int32(ErrIndeterminate), Reason: int32(ReasonConnectionLost), Indeterminate: true,
		Message: "the connection was lost; the call may have been executed",
	}
	if err.Status == ErrClosed {
		lost.Reason, lost.Message = int32(ReasonClosed), closedMeanwhile
	}
	return lost
}

// madeResult makes a result of what a fake has given, or the error of the call.
func madeResult(ctx context.Context, reply any) (Result, *Error) {
	switch reply := reply.(type) {
	case Result:
		return reply, nil
	case fake.Failure:
		return Result{}, failureOf(ctx, reply)
	}
	var p packed
	p.reply(reply)
	r := reader{string(p.buf)}
	return r.reply(), nil
}

func failureOf(ctx context.Context, f fake.Failure) *Error {
	err := &Error{
		Status: Status(f.Status), Message: f.Message, Reason: Reason(f.Reason), Index: -1,
		Indeterminate: f.Indeterminate, NotExecuted: f.NotExecuted,
	}
	if err.mayBeOfContext() {
		err.cause = causeOf(ctx)
		if _, ok := ctx.Deadline(); ok && err.cause == nil && err.Reason == ReasonDeadline {
			err.cause = context.DeadlineExceeded
		}
	}
	return err
}

func aggregate(kind Kind, count int, elements packed) Result {
	return Result{kind: kind, n: int64(count), data: string(elements.buf)}
}

// result appends a result as the library packs it.
func (p *packed) result(r Result) {
	if r.err != nil {
		p.error(r.err)
		return
	}
	p.buf = append(p.buf, byte(r.kind))
	switch r.kind {
	case KindNil, KindNone:
	case KindInteger:
		p.buf = native.AppendUint64(p.buf, uint64(r.n))
	case KindBoolean:
		p.buf = append(p.buf, byte(r.n))
	case KindArray, KindMap, KindSet:
		p.number(int(r.n))
		p.buf = append(p.buf, r.data...)
	case KindVerbatim:
		p.buf = append(p.buf, r.data[:3]...)
		p.data(r.data[3:])
	default:
		p.data(r.data)
	}
}

func (p *packed) data(text string) {
	p.number(len(text))
	p.buf = append(p.buf, text...)
}

func (p *packed) error(err *Error) {
	p.buf = append(p.buf, byte(KindError))
	p.number(int(err.Status))
	flags := byte(0)
	if err.Indeterminate {
		flags |= packedIndeterminate
	}
	if err.NotExecuted {
		flags |= packedNotExecuted
	}
	p.buf = append(p.buf, flags)
	p.data(err.ServerCode)
	p.data(err.Message)
	p.number(int(err.Reason))
	p.number(err.Index)
	p.data(err.Node)
}

// textOf appends a reply that is a text.
func (p *packed) textOf(kind Kind, text string) {
	p.buf = append(p.buf, byte(kind))
	p.data(text)
}

// reply appends what a fake has given.
func (p *packed) reply(reply any) {
	switch reply := reply.(type) {
	case nil:
		p.result(Result{kind: KindNil})
	case Result:
		p.result(reply)
	case fake.Status:
		p.textOf(KindStatus, string(reply))
	case fake.Failure:
		p.error(failureOf(context.Background(), reply))
	case *Error:
		p.error(reply)
	case error:
		p.error(serverError(reply.Error()))
	case *big.Int:
		p.textOf(KindBigNumber, reply.String())
	case []byte:
		p.textOf(KindString, string(reply))
	default:
		p.value(reflect.ValueOf(reply))
	}
}

func (p *packed) value(v reflect.Value) {
	switch {
	case v.CanInt():
		p.result(Result{kind: KindInteger, n: v.Int()})
	case v.CanUint() && v.Uint() > math.MaxInt64:
		p.textOf(KindBigNumber, strconv.FormatUint(v.Uint(), 10))
	case v.CanUint():
		p.result(Result{kind: KindInteger, n: int64(v.Uint())})
	case v.CanFloat():
		p.textOf(KindDouble, asServersWrite(v.Float()))
	case v.Kind() == reflect.Bool:
		n := int64(0)
		if v.Bool() {
			n = 1
		}
		p.result(Result{kind: KindBoolean, n: n})
	case v.Kind() == reflect.String:
		p.textOf(KindString, v.String())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		p.textOf(KindString, string(v.Bytes()))
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		p.buf = append(p.buf, byte(KindArray))
		p.number(v.Len())
		for i := range v.Len() {
			p.reply(v.Index(i).Interface())
		}
	case v.Kind() == reflect.Map:
		p.buf = append(p.buf, byte(KindMap))
		p.number(2 * v.Len())
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for _, key := range keys {
			p.reply(key.Interface())
			p.reply(v.MapIndex(key).Interface())
		}
	default:
		panic(fmt.Sprintf("rstest: a reply cannot be of type %T", v.Interface()))
	}
}

// asServersWrite is a double as it comes with RESP3.
func asServersWrite(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// serverError is what a server has said, as the library tells it.
func serverError(text string) *Error {
	code, _, _ := strings.Cut(text, " ")
	if code != strings.ToUpper(code) {
		code = ""
	}
	return &Error{Status: ErrServer, Message: text, ServerCode: code, Reason: ReasonServer, Index: -1}
}
