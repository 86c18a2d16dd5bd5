// Package fake is what the packages rsscript and rstest share: calls that a test answers in place of servers.
package fake

import "context"

// Call is one command or script call, alone or in a pipeline.
type Call struct {
	// Command is the command and its arguments; nil for a script.
	Command []string
	// Script is the name that a script was given, else its SHA1; empty for a command.
	Script string
	// SHA and Source are the script's.
	SHA, Source string
	// Function is the server's name of a function, with the digest of a pinned library behind it; empty for all else.
	Function string
	// Token is the call's own, or that of all of its pipeline; empty without one.
	Token string
	// Keys and Args are KEYS and ARGV of a script.
	Keys, Args []string
	// ReadOnly says whether a script was called with CallRO.
	ReadOnly bool
	// Index is the place in a pipeline or transaction, of Count; 0 of 0 for a call that is alone.
	Index, Count int
	// Atomic says whether it is in a transaction.
	Atomic bool
}

// Answer gives the reply to a call: what [Call] documents in package rstest.
type Answer func(ctx context.Context, call *Call) any

// Status is a status reply, such as OK.
type Status string

// Failure is an error of the call itself.
type Failure struct {
	Status, Reason int32
	Message        string
	// IsSilence: the call ends with its context, and not before.
	IsSilence bool
	// Indeterminate and NotExecuted are as in rsscript.Error.
	Indeterminate, NotExecuted bool
}

// Result makes a rsscript.Result of what an Answer may give. Set by package rsscript.
var Result func(reply any) any

// Open makes a client, a *rsscript.Client, whose calls go to answer. Set by package rsscript, with options of its own.
var Open func(answer Answer, options any) (client any, err error)
