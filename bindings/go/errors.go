// Why a call failed, for errors.Is and errors.As.

//go:build cgo

package rsscript

import (
	"errors"
	"os"
)

// Status says what kind of error an [Error] is. Each is itself an error, to be used with [errors.Is]:
//
//	if errors.Is(err, rsscript.ErrIndeterminate) { ... }
//
// The 100s are the caller's own mistakes, the 200s no connection, the 300s an unknown outcome, the 400s the server's
// answers, the 500s this library.
type Status int32

const (
	// ErrInvalidArgument: an argument cannot be used. Nothing was sent.
	ErrInvalidArgument Status = 100
	// ErrInvalidURL: the URL cannot be used. Nothing was sent.
	ErrInvalidURL Status = 101
	// ErrInvalidOption: an option, or a combination of options, cannot be used. Nothing was sent.
	ErrInvalidOption Status = 102
	// ErrCommandRefused: the command would break the shared connection; the message says how to do it instead.
	// Nothing was sent.
	ErrCommandRefused Status = 103
	// ErrCrossSlot: the keys lie in more than one hash slot; the message names two of them. Nothing was sent.
	ErrCrossSlot Status = 104
	// ErrNotReadOnly: a read-only call of a script whose first line (#!lua) lacks the flag no-writes. Nothing was sent.
	ErrNotReadOnly Status = 105
	// ErrForked: the client was opened before fork(). Nothing was sent.
	ErrForked Status = 106
	// ErrClosed: the client is closed. Nothing of the call was sent.
	ErrClosed Status = 107
	// ErrNoRoute: in a cluster, the command's keys are not known to the library, or it concerns one server of several;
	// see [Client.WithRouteKey] and its neighbours. Nothing was sent.
	ErrNoRoute Status = 108
	// ErrQueueFull: as many calls are in flight as [WithMaxInFlight] allows, and by [WithFailWhenFull] none waits for
	// that to change. Nothing was sent.
	ErrQueueFull Status = 109
	// ErrConnect: no connection, or no descriptors left for one ([ReasonResources]). Nothing was executed.
	ErrConnect Status = 200
	// ErrTLS: the TLS handshake failed. Nothing was executed.
	ErrTLS Status = 201
	// ErrAuth: the server did not accept user, password or database number. Nothing was executed.
	ErrAuth Status = 202
	// ErrTimeout: the deadline passed before anything was sent. Nothing was executed.
	ErrTimeout Status = 203
	// ErrCancelled: the context was cancelled before anything was sent. Nothing was executed.
	ErrCancelled Status = 204
	// ErrIndeterminate: the call was sent and no reply came: the server may have executed it, or may yet. [errors.Is]
	// holds for every error of which [Error.Indeterminate] is true.
	ErrIndeterminate Status = 300
	// ErrReplyLimit: the reply went over a limit of the options; the connection was closed. The server may have
	// executed the call.
	ErrReplyLimit Status = 301
	// ErrNotReplicated: the call was executed, but up to the deadline too few replicas had it: it is lost if the primary
	// dies now. [Error.Indeterminate] is true then.
	ErrNotReplicated Status = 302
	// ErrServer: the server, or the script, answered with an error.
	ErrServer Status = 400
	// ErrNoScript: the server lacks the script, and it could not be sent along: in a pipeline it would come out of
	// order, or the user may neither load scripts nor evaluate them. The call was not executed.
	ErrNoScript Status = 401
	// ErrCompile: the script or the library does not compile on that server, or a library does not load there for
	// another fault of its own. It was not executed.
	ErrCompile Status = 402
	// ErrLoading: the server was still loading its data set when the deadline came. The call was not executed.
	ErrLoading Status = 403
	// ErrBusy: the server is busy with another script. The call was not executed.
	ErrBusy Status = 404
	// ErrTransactionAborted: the transaction was refused or aborted as a whole. Nothing in it was executed.
	ErrTransactionAborted Status = 405
	// ErrNotSupported: the server, or the native library, lacks what was asked for, or the server is not what the URL
	// says (no cluster, no sentinel). Nothing was executed.
	ErrNotSupported Status = 406
	// ErrNotServed: up to the deadline no server of the cluster ran the call. It was not executed.
	ErrNotServed Status = 407
	// ErrNoFunction: the server lacks the function, and its library did not bring it there: the library does not
	// register it, this user may not load it, the server has no memory for it, or in a pipeline it would come out of
	// order. The call was not executed.
	ErrNoFunction Status = 409
	// ErrTokenMismatch: another script, or other keys or arguments, were called with the token before. This call was
	// not executed.
	ErrTokenMismatch Status = 410
	// ErrReplyNotKept: the call was executed, by an attempt before this one or by an earlier call with its token, and
	// its reply was too long to be kept.
	ErrReplyNotKept Status = 411
	// ErrInternal: a defect of this library. Whether the call was executed is not known.
	ErrInternal Status = 500
	// ErrNoMemory: there is no memory for the call, and nothing of it was sent; or there is none for its reply, and the
	// server may have executed it. [Error.NotExecuted] tells which.
	ErrNoMemory Status = 501
	// ErrResources: the system has no descriptors or threads left. Nothing was sent.
	ErrResources Status = 502
)

// Error is the name of the status in C, such as RS_ERR_INDETERMINATE.
func (s Status) Error() string { return statusName(s) }

// Reason is what ended a call, whatever is known of its execution: a deadline and a lost connection may both be
// [ErrIndeterminate].
type Reason int32

const (
	// ReasonDeadline: the time was over, that of the call or, with [ErrConnect], that of the attempt to connect.
	ReasonDeadline Reason = 1
	// ReasonConnectionLost: the connection was lost with the call on it.
	ReasonConnectionLost Reason = 2
	// ReasonCancelled: the context was cancelled.
	ReasonCancelled Reason = 3
	// ReasonProtocol: the server sent something that is no reply.
	ReasonProtocol Reason = 4
	// ReasonClosed: the client was closed.
	ReasonClosed Reason = 5
	// ReasonServer: the server said so; it refused the call, or ran it and answered with an error. With [ErrLoading]
	// and [ErrNotServed]: up to the deadline.
	ReasonServer Reason = 6
	// ReasonConnect: there was no connection.
	ReasonConnect Reason = 7
	// ReasonLimit: a limit of the options, or [WithMaxInFlight].
	ReasonLimit Reason = 8
	// ReasonArgument: the call itself, as it was made. Nothing was sent.
	ReasonArgument Reason = 9
	// ReasonInternal: a defect of this library.
	ReasonInternal Reason = 10
	// ReasonResources: this side has no memory, descriptors or threads left.
	ReasonResources Reason = 11
)

// String is the name of the reason in C, such as RS_REASON_DEADLINE.
func (r Reason) String() string { return reasonName(r) }

// ErrNil is what [errors.Is] finds in the error of a [Result] that holds no value where one was asked for, and in
// that of [Client.ScriptShow] where there is no such script.
var ErrNil = errors.New("rsscript: the reply is nil")

// Error is why a call failed, and what is known of its execution.
//
// [errors.Is] compares it with a [Status], with [os.ErrDeadlineExceeded] where its time was over, and with the error
// of the context that ended the call: [context.Canceled] or [context.DeadlineExceeded], and the [context.Cause] of
// that. It is a [net.Error].
type Error struct {
	// Status is its kind.
	Status Status
	// Message says what happened. It never holds a password. It may hold the server's own text, and that may quote a
	// piece of a script that does not compile, or what a script has put into its error.
	Message string
	// ServerCode is the first word of the server's error text, such as WRONGTYPE; empty when the server did not answer.
	ServerCode string
	// Indeterminate: the call may have been executed, or may yet be, without this side ever learning of it.
	Indeterminate bool
	// NotExecuted: it is certain that the call was not executed and will not be, so it may be made again. For most
	// errors of a script neither this nor Indeterminate is true: it has done what it did before it failed.
	NotExecuted bool
	// Reason is what ended the call.
	Reason Reason
	// Index is the item of a pipeline or transaction that it is about; of several without an answer, the first. -1:
	// it is about no one item.
	Index int
	// Node is the server that it is about, as host:port or the path of a socket; empty where none is known.
	Node string

	cause error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Timeout tells whether the time was over, be it before the call was sent or after; see Indeterminate. Part of
// [net.Error].
func (e *Error) Timeout() bool { return e.Reason == ReasonDeadline }

// Temporary is the same as Timeout. Part of [net.Error], whose makers regret it.
func (e *Error) Temporary() bool { return e.Timeout() }

// Is makes [errors.Is] find the status, and [os.ErrDeadlineExceeded].
func (e *Error) Is(target error) bool {
	if target == os.ErrDeadlineExceeded {
		return e.Timeout()
	}
	status, ok := target.(Status)
	return ok && (status == e.Status || status == ErrIndeterminate && e.Indeterminate)
}

// Unwrap gives the error of the context that ended the call, with the [context.Cause] of that, or nil.
func (e *Error) Unwrap() error { return e.cause }

// mayBeOfContext tells whether a call ends with such an error when it has no time left: not with what the server has
// answered, or with a lost connection.
func (e *Error) mayBeOfContext() bool {
	switch e.Reason {
	case ReasonDeadline, ReasonCancelled, ReasonConnect:
		return true
	}
	return e.Status == ErrLoading || e.Status == ErrNotServed
}

// refused is the error of a call of which nothing was sent.
func refused(status Status, message string) *Error {
	return &Error{Status: status, Message: message, NotExecuted: true, Reason: reasonOf(status), Index: -1}
}

// reasonOf is what ends a call that this package refuses.
func reasonOf(status Status) Reason {
	switch status {
	case ErrTimeout:
		return ReasonDeadline
	case ErrCancelled:
		return ReasonCancelled
	case ErrClosed:
		return ReasonClosed
	case ErrQueueFull:
		return ReasonLimit
	case ErrNotSupported:
		return ReasonServer
	case ErrInternal:
		return ReasonInternal
	}
	return ReasonArgument
}

// errorOf keeps a nil *Error from becoming an error that is not nil.
func errorOf(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}
