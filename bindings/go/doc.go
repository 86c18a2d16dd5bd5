// Package rsscript runs Lua scripts on Redis and Valkey without the edge cases.
//
// A script is made once, without any input or output, and called on any server or cluster, alone, in a pipeline or in
// a transaction. It is loaded when it has to be, in the same write. A script runs at most once, and an error says
// whether it ran; see [Error].
//
// A client is shared by any number of goroutines: their calls travel together, over one connection to each server. No
// thread waits for a call: a client waits for its connections in Go's own poller. It has threads only for looking up a
// host name, as long as that lasts, and for [WithCredentials].
//
// [Open] connects to a server, a cluster, or what is behind sentinels, with TLS where the URL says so; [WithLog]
// tells a [log/slog.Logger] of connections made, lost and refused.
//
// A reply is read with the methods of [Result], or put into variables, slices, maps and structs with [Result.Scan]
// and [As]. [WithHook] has a program told of each call; the module rsotel does so for OpenTelemetry. The package
// rstest gives clients that need no server, for tests.
//
// It is a binding of the native library rs_script, which pkg-config has to know, or which is taken from the
// repository that holds this package with the build tag rs_script_repository; see the README.
//
// A process that forks without executing another program must not use its parent's clients.
package rsscript
