// Package rstest gives tests a client of package rsscript that needs no server: a function of the test's answers its
// calls.
//
//	client := rstest.Open(t, func(call *rstest.Call) any {
//		if call.Script == "multiply" {
//			return 10
//		}
//		return rstest.LostReply()
//	})
//
// The client is a *rsscript.Client like any other: scripts, pipelines, transactions, hooks, contexts and closing
// work. Nothing is retried: what the function gives is what the caller gets, also for an idempotent script. What a
// client of a server's refuses before it sends anything, such as MULTI, or a token where nothing happens once, goes to
// the function as well.
package rstest

import (
	"context"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"github.com/rs-script/rs_script/bindings/go/internal/fake"
)

// Call is one command or script call, alone or in a pipeline; see its fields.
type Call = fake.Call

// Status is a status reply: rstest.Status("OK").
type Status = fake.Status

// Open gives a client whose calls answer answers, on the goroutines that make them; it is closed when the test is
// over. An item of a pipeline is a call like any other.
//
// What answer gives is the reply:
//
//   - nil, integers, bool, floats, *big.Int, string, []byte and [Status] are what they are;
//   - a slice is an array, a map a map;
//   - an error is one that the server has answered with, such as errors.New("WRONGTYPE ..."), and a *[rsscript.Error]
//     just that; in a slice it is an element;
//   - a [rsscript.Result] is itself;
//   - [NoScript], [LostReply], [Deadline], [Silence] and [NotSent] are what may go wrong with a call.
//
// Anything else panics. Of the options those take effect that have nothing to do with servers: hooks.
func Open(t testing.TB, answer func(call *Call) any, options ...rsscript.Option) *rsscript.Client {
	t.Helper()
	client, err := fake.Open(func(_ context.Context, call *Call) any { return answer(call) }, options)
	if err != nil {
		t.Fatal(err)
	}
	opened := client.(*rsscript.Client)
	t.Cleanup(func() { opened.Close() })
	return opened
}

// Result makes the result of a call that was answered like this; see [Open].
func Result(reply any) rsscript.Result { return fake.Result(reply).(rsscript.Result) }

// NoScript is [rsscript.ErrNoScript]: the server lacks the script, and it could not be sent along. The call was not
// executed.
func NoScript() any {
	return &rsscript.Error{
		Status: rsscript.ErrNoScript, Reason: rsscript.ReasonServer, Message: "NOSCRIPT No matching script.",
		ServerCode: "NOSCRIPT", NotExecuted: true, Index: -1,
	}
}

// LostReply is [rsscript.ErrIndeterminate]: the call was sent, and the connection was lost before its reply came. A
// pipeline ends with it.
func LostReply() any {
	return failure(rsscript.ErrIndeterminate, rsscript.ReasonConnectionLost,
		"the connection was lost; the call may have been executed")
}

// Deadline is [rsscript.ErrIndeterminate] at once, as if the call's time were over: errors.Is with
// os.ErrDeadlineExceeded, and where the call's context has a deadline with context.DeadlineExceeded. A pipeline ends
// with it.
func Deadline() any {
	return failure(rsscript.ErrIndeterminate, rsscript.ReasonDeadline,
		"the deadline passed; the call may have been executed")
}

// Silence is no reply at all: the call ends with its context, or with the client; and where the context has no end,
// as [Deadline] at once.
func Silence() any {
	f := Deadline().(fake.Failure)
	f.IsSilence = true
	return f
}

// NotSent is [rsscript.ErrConnect]: there was no connection, and the call was not executed. A pipeline ends with it;
// if items before it were answered, as with [LostReply].
func NotSent() any {
	f := failure(rsscript.ErrConnect, rsscript.ReasonConnect, "there is no connection; nothing was sent").(fake.Failure)
	f.Indeterminate, f.NotExecuted = false, true
	return f
}

func failure(status rsscript.Status, reason rsscript.Reason, message string) any {
	return fake.Failure{Status: int32(status), Reason: int32(reason), Message: message, Indeterminate: true}
}
