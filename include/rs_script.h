// rs_script: Lua scripts on Redis and Valkey without the edge cases. Version 0.1.0.
//
// Generated from src/ffi; do not edit. To renew it: RS_SCRIPT_HEADER=write cargo test --test header
//
// INSTALL   cmake -B build && cmake --build build && cmake --install build
// LINK      CMake: find_package(rs_script) and rs_script::rs_script
//           else: cc main.c $(pkg-config --cflags --libs rs_script)
//
// EXAMPLE   Multiplies the number at a key.
//
//     #include <rs_script.h>
//     #include <stdio.h>
//     #include <string.h>
//
//     int main(void) {
//         const char *lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";
//         const char *set[] = {"SET", "foo", "2"}, *keys[] = {"foo"}, *args[] = {"5"};
//         rs_client *client = NULL;
//         rs_script *multiply = NULL;
//         rs_reply *reply = NULL;
//         rs_error *err = NULL;
//         if (rs_client_open("redis://127.0.0.1:6379", NULL, &client, &err) == RS_OK &&
//             rs_client_command(client, 3, set, NULL, NULL, NULL, &err) == RS_OK &&
//             rs_script_register(client, lua, strlen(lua), NULL, &multiply, &err) == RS_OK &&
//             rs_script_call(multiply, NULL, 1, keys, NULL, 1, args, NULL, NULL, &reply, &err) == RS_OK)
//             printf("%lld\n", (long long)rs_reply_integer(reply)); /* 10 */
//         else
//             fprintf(stderr, "%s: %s\n", rs_status_name(rs_error_status(err)), rs_error_message(err));
//         rs_reply_free(reply);
//         rs_error_free(err);
//         rs_script_free(multiply);
//         rs_client_free(client);
//     }
//
// OWNERSHIP is said in three phrases. "caller frees with X": yours, free it once with X. "borrowed until Y": valid
//           until then, never to be freed. "copied": the library keeps nothing of yours after the call returns.
//           Every X_free takes NULL. Outputs are set on every path: to NULL, 0 or false on failure.
// ERRORS    Functions that can fail return RS_OK or a number from RS_ERR_INVALID_ARGUMENT on: 100s your own mistake,
//           200s no connection, 300s outcome unknown, 400s the server's answer, 500s this library. The last parameter,
//           `rs_error **err`, may be NULL; otherwise *err becomes NULL or an error that the caller frees with
//           rs_error_free.
// STRINGS   are bytes with a length; NULL is an empty one where the length is 0. Lists are an array of pointers and an
//           array of lengths; with NULL for the lengths each string ends in a NUL.
// NUMBERS   Lengths (in bytes), counts and indices are size_t. Times are uint64_t, in milliseconds unless the name
//           says otherwise. Flags are uint32_t, and whatever has named values is int32_t. Bits and numbers that have
//           no name here are refused: by the setters of rs_options with RS_ERR_INVALID_OPTION, by all other functions
//           with RS_ERR_INVALID_ARGUMENT.
// NULL      where an object or an output must not be NULL is RS_ERR_INVALID_ARGUMENT too, and never undefined. Clang
//           warns of it.
// CONST     is what a function neither changes nor hands out to be changed. A call changes its client, and a poll its
//           queue.
// THREADS   Clients, queues and scripts may be used by any number of threads at once. Replies may be read by any
//           number; options, pipelines and errors belong to one thread at a time. No object may be freed while another
//           thread uses that handle. There is no thread-local state. A blocking call works on the thread that makes
//           it. A client has a thread in the background once it has submitted a call; see rs_queue. A look-up of a
//           host name has a thread while it lasts, and so has a question for credentials. rs_client_free of the last
//           handle waits for the end of the client's threads; then the library may be unloaded. A look-up that hangs
//           cannot be ended: it is left to itself, and keeps the library loaded.
// FORK      A child must not use its parent's clients, queues and pipelines: calls end with RS_ERR_FORKED, at
//           whatever moment it was forked, and nothing that it does reaches the parent's connections. Making its own
//           is fine, and so is freeing. Scripts, replies, errors and options are its own. (The system's allocator and
//           look-up of host names have to work in a child as well.)
// SIGNALS   The library installs no handler, raises no SIGPIPE, and goes on after EINTR. Its threads block all
//           signals but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS, so they take none of yours.
// ENDING    pthread_cancel is held off by every call, its callbacks included, and acts when the thread reaches a
//           cancellation point of its own after that; a call does not end sooner for it. (Not with
//           PTHREAD_CANCEL_ASYNCHRONOUS.) Destructors of thread keys may call everything.
//           A callback returns: pthread_exit, longjmp and exceptions do not lead out of one.
// OUTPUT    Nothing is printed. The one exception is a defect of the library, which Rust's run-time tells of on
//           stderr before the call ends with RS_ERR_INTERNAL.

#ifndef RS_SCRIPT_H
#define RS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
// The version of this header; rs_version and rs_version_number tell that of the library.
#define RS_VERSION "0.1.0"
#define RS_VERSION_MAJOR 0
#define RS_VERSION_MINOR 1
#define RS_VERSION_PATCH 0
#define RS_VERSION_NUMBER 1000

// No index: see rs_error_index.
#define RS_NO_INDEX SIZE_MAX

// What an rs_call_options, an rs_script_options or an rs_library_options starts as, as in
// rs_call_options options = RS_CALL_OPTIONS_INIT;
#define RS_CALL_OPTIONS_INIT {sizeof(rs_call_options), 0, 0, 0, 0, NULL, 0, 0, 0, NULL, 0}
#define RS_SCRIPT_OPTIONS_INIT {sizeof(rs_script_options), 0, NULL, 0, 0, 0, 0, NULL, 0, 0}
#define RS_LIBRARY_OPTIONS_INIT {sizeof(rs_library_options), 0, 0, 0, 0, NULL, 0, 0}

// The same as an argument, in C: RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY, .timeout_ms = 100). It lives as long as
// the block that it stands in.
#ifndef __cplusplus
#define RS_CALL_OPTIONS(...) (&(const rs_call_options){.size = sizeof(rs_call_options), __VA_ARGS__})
#define RS_SCRIPT_OPTIONS(...) (&(const rs_script_options){.size = sizeof(rs_script_options), __VA_ARGS__})
#define RS_LIBRARY_OPTIONS(...) (&(const rs_library_options){.size = sizeof(rs_library_options), __VA_ARGS__})
#endif

// Has the compiler warn where what a function returns is thrown away: a handle that nobody frees, an item that a
// pipeline goes without, a call that was not accepted and will never complete. Define it empty before including this
// header to have none of that. What a call returns may be thrown away: its reply and its error say the same.
#ifndef RS_NODISCARD
#if (defined(__cplusplus) && __cplusplus >= 201703L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define RS_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define RS_NODISCARD __attribute__((warn_unused_result))
#else
#define RS_NODISCARD
#endif
#endif

// Has Clang warn where NULL itself is passed for what must not be NULL. It is a warning alone: NULL there is
// RS_ERR_INVALID_ARGUMENT, which the attribute `nonnull` would have compilers believe to be impossible.
#ifdef __clang__
#pragma clang diagnostic push
#endif
#ifndef RS_NOT_NULL
#if defined(__clang__) && __has_attribute(diagnose_if)
#pragma clang diagnostic ignored "-Wgcc-compat" /* GCC does not know it */
#define RS_NOT_NULL(parameter) __attribute__((diagnose_if(!(parameter), #parameter " is NULL", "warning")))
#else
#define RS_NOT_NULL(parameter)
#endif
#endif

// SCRIPT FLUSH as the server is configured.
#define RS_FLUSH_DEFAULT 0

// SCRIPT FLUSH SYNC: at once, before the reply.
#define RS_FLUSH_SYNC 1

// SCRIPT FLUSH ASYNC: in the background.
#define RS_FLUSH_ASYNC 2

// The call only reads: a replica may run it, where read_from says so, and it is sent again when its reply was lost
// with the connection.
//
// A script is sent as EVALSHA_RO, and the server stops it at its first write. One whose first line is `#!lua` without
// the flag `no-writes` is refused with RS_ERR_NOT_READ_ONLY before anything is sent. A server older than 7.0 cannot
// enforce it: its primary runs a plain EVALSHA, which is not sent again. That a command only reads is your word:
// nobody checks that, and a replica of a cluster refuses a write. A command that waits (XREAD BLOCK, ...) runs on a
// primary all the same.
//
// Redis: <https://redis.io/docs/latest/commands/evalsha_ro/>
#define RS_CALL_READ_ONLY 1

// The call may safely run twice: when its reply was lost with the connection it is sent again within its deadline, at
// most 5 times, at once and then after longer and longer pauses. Of a script see also RS_SCRIPT_IDEMPOTENT.
#define RS_CALL_IDEMPOTENT 2

// The script may safely run twice: a call whose reply was lost with the connection is sent again within its deadline.
// How often, and of a single call: see RS_CALL_IDEMPOTENT.
#define RS_SCRIPT_IDEMPOTENT 1

// The script's calls happen exactly once each. A call carries a token; its effects and its reply are stored together
// under that by one atomic execution, and a call that comes again with the same token gets that reply and does
// nothing. So a call is sent again after a lost reply, a lost connection or a failover, until its deadline, and its
// caller gets the reply instead of RS_ERR_INDETERMINATE. The library makes a token for each call; see `token` of
// rs_call_options.
//
// What is sent, and what rs_script_sha tells the SHA1 of, is a wrapper around the source, with its line numbers.
// Read-only calls need no token; they are those of the script as it is.
//
// Limits: a server forgets a token after `token_lifetime_ms`, or when it evicts it: a maxmemory-policy other than
// noeviction voids all this. A primary that dies before it has replicated a call has lost it and its token: see
// `wait_replicas`. What a script has written before it raised an error stays, and is not done again: a repeat gets
// the same error, without the place in the script that a server adds. While a slot of a cluster moves key by key,
// calls with keys in it wait for the end of that, for their tokens are new keys. A source that selects another
// database (SELECT), where a repeat would not find its token, is refused: RS_ERR_INVALID_ARGUMENT.
//
// Errors of such calls: RS_ERR_TOKEN_MISMATCH, RS_ERR_REPLY_NOT_KEPT, RS_ERR_NOT_REPLICATED.
#define RS_SCRIPT_ONCE 4

// The script is called as a function: its body becomes the only one of a library that this client makes, which
// servers replicate and persist. So it survives a failover, SCRIPT FLUSH, a restart and the eviction of scripts, and
// replicas have it. On servers before 7.0 it is called as the script that it is.
//
// What differs for its body: an error that it returns gets ` script: rs` behind it; without a first line of flags
// (`#!lua`) the numbers of lines in errors are one higher, and where the server is out of memory a call that is not
// read-only is refused before it begins.
#define RS_SCRIPT_AS_FUNCTION 2

// Where the client's own route leads.
#define RS_ROUTE_DEFAULT 0

// To any primary, taken at random.
#define RS_ROUTE_ANY 1

// To the primary that has the slot of the key in `route_to`.
#define RS_ROUTE_KEY 2

// To the primary that has the slot `route_slot`, 0 to 16383.
#define RS_ROUTE_SLOT 3

// To the server named in `route_to`, a replica's will do: `host:port` as the servers announce it or
// rs_options_map_address maps it. Whether there is such a server shows when it is called: RS_ERR_NO_ROUTE.
#define RS_ROUTE_NODE 4

// To all primaries side by side. The reply is a map from each one's `host:port` to its reply; one that gave none has
// an error there, which rs_reply_error tells more of. Pipelines and transactions cannot go there: RS_ERR_NO_ROUTE.
#define RS_ROUTE_ALL 5

// What ended a call: the time was over, that of the call or, with RS_ERR_CONNECT, that of the attempt to connect.
#define RS_REASON_DEADLINE 1

// What ended a call: the connection was lost with the call on it.
#define RS_REASON_CONNECTION_LOST 2

// What ended a call: its caller has cancelled it.
#define RS_REASON_CANCELLED 3

// What ended a call: the server sent something that is no reply.
#define RS_REASON_PROTOCOL 4

// What ended a call: the client was closed.
#define RS_REASON_CLOSED 5

// What ended a call: the server said so; it refused the call, or ran it and answered with an error. With
// RS_ERR_LOADING and RS_ERR_NOT_SERVED: up to the deadline.
#define RS_REASON_SERVER 6

// What ended a call: there was no connection; no such host, refused, unreachable, no TLS.
#define RS_REASON_CONNECT 7

// What ended a call: a limit of the options or of a queue.
#define RS_REASON_LIMIT 8

// What ended a call: the call itself, as it was made. Nothing was sent.
#define RS_REASON_ARGUMENT 9

// What ended a call: a defect of this library.
#define RS_REASON_INTERNAL 10

// What ended a call: this side has no memory, descriptors or threads left.
#define RS_REASON_RESOURCES 11

// The first connection to a server was made.
#define RS_EVENT_CONNECTED 1

// Another connection to a server was made, in place of one before.
#define RS_EVENT_RECONNECTED 2

// An attempt to connect has failed.
#define RS_EVENT_CONNECT_FAILED 3

// The connection to a server was lost or given up: told when that is noticed, which a client that has no call under
// way and no thread (see rs_queue) does with its next call.
#define RS_EVENT_CONNECTION_LOST 4

// A server did not accept user or password, or there was nothing to log in with: on a new connection, or on an open
// one, which stays in use.
#define RS_EVENT_AUTH_FAILED 5

// An open connection has logged in again.
#define RS_EVENT_REAUTHENTICATED 6

// A connection is replaced because the user has changed.
#define RS_EVENT_USER_CHANGED 7

// A cluster has other primaries than before, or is known for the first time.
#define RS_EVENT_PRIMARIES_CHANGED 8

// Another server is the primary now, of one without a cluster.
#define RS_EVENT_FAILOVER 9

// A server of a cluster has said that a slot is another's now.
#define RS_EVENT_SLOT_MOVED 10

// A server evicts keys, so that calls of an RS_SCRIPT_ONCE may happen twice.
#define RS_EVENT_EVICTS_TOKENS 11

// A command.
#define RS_CALL_KIND_COMMAND 1

// A script's call.
#define RS_CALL_KIND_SCRIPT 2

// A pipeline.
#define RS_CALL_KIND_PIPELINE 3

// A transaction.
#define RS_CALL_KIND_TRANSACTION 4

// Script administration, or what stops a busy server.
#define RS_CALL_KIND_ADMINISTRATION 5

// The library has the names that are written in it, which others may call and replace. It is loaded where it
// is missing, and what is there is never replaced but by rs_client_library_deploy.
//
// Without this flag it is pinned: a digest of its source is put behind its name and behind those of its
// functions, so that a name means one code, and any number of versions live side by side. An error that a
// pinned library's function returns gets ` script: rs` behind it, so that it can never be taken for the
// server's own words. Of a named library's functions, one that returns to the letter `ERR Function not
// found` is not told apart from a server that lacks it by that text: the server is asked, and where that
// shows nothing the call ends with RS_ERR_INDETERMINATE.
#define RS_LIBRARY_NAMED 1

// The library's functions happen exactly once for each call of them; see RS_SCRIPT_ONCE, whose limits and errors are
// the same. On the server it is another library than the one without this flag, and has another name. A named library
// cannot have it.
//
// A function with the flag `no-writes` has nothing that could happen twice. It is called read-only, without a token;
// otherwise it runs again when its call is sent again, and with a token of the caller's own it is refused:
// RS_ERR_INVALID_ARGUMENT.
#define RS_LIBRARY_ONCE 2

// RESP3, and RESP2 with a server that does not know it.
#define RS_PROTOCOL_AUTO 0

// RESP2.
#define RS_PROTOCOL_RESP2 2

// RESP3; a server that does not know it is an error.
#define RS_PROTOCOL_RESP3 3

// Of a call: where its client has read-only calls run. Of a client: RS_READ_FROM_PRIMARY.
#define RS_READ_FROM_DEFAULT 0

// Read-only calls run on the primary.
#define RS_READ_FROM_PRIMARY 1

// Read-only calls run on the replicas in turn; on the primary where none can be reached.
#define RS_READ_FROM_PREFER_REPLICA 2

// Read-only calls run on the replicas in turn, and never on the primary.
#define RS_READ_FROM_REPLICA 3

// An attempt to connect has failed; calls may have failed with it.
#define RS_LOG_LEVEL_ERROR 1

// The client goes on, but something is wrong: a connection was lost, a login could not be renewed, a server evicts
// tokens.
#define RS_LOG_LEVEL_WARNING 2

// A connection was made, or something about the servers has changed.
#define RS_LOG_LEVEL_INFO 3

// A packed call: a command.
#define RS_PACKED_COMMAND 0

// A packed call: a script call.
#define RS_PACKED_SCRIPT 1

// A packed call: a pipeline or transaction.
#define RS_PACKED_PIPELINE 2

// A packed call: rs_client_script_load.
#define RS_PACKED_SCRIPT_LOAD 3

// A packed call: rs_client_script_exists.
#define RS_PACKED_SCRIPT_EXISTS 4

// A packed call: rs_client_script_flush.
#define RS_PACKED_SCRIPT_FLUSH 5

// A packed call: rs_client_script_kill.
#define RS_PACKED_SCRIPT_KILL 6

// A packed call: rs_client_script_show.
#define RS_PACKED_SCRIPT_SHOW 7

// A packed call: rs_client_kill.
#define RS_PACKED_KILL 8

// A packed call: rs_client_script_stats.
#define RS_PACKED_SCRIPT_STATS 9

// A packed call: rs_client_reauthenticate.
#define RS_PACKED_REAUTHENTICATE 10

// A packed call: rs_client_library_load.
#define RS_PACKED_LIBRARY_LOAD 11

// A packed call: rs_client_library_check.
#define RS_PACKED_LIBRARY_CHECK 12

// A packed call: rs_client_library_deploy.
#define RS_PACKED_LIBRARY_DEPLOY 13

// A packed call: rs_client_library_list.
#define RS_PACKED_LIBRARY_LIST 14

// A packed call: rs_client_library_prune.
#define RS_PACKED_LIBRARY_PRUNE 15

// In front of a packed command, script call or pipeline: where it goes, as `read_from` and `route` of
// rs_call_options.
#define RS_PACKED_ROUTED 16

// A flag of a packed script call: read-only.
#define RS_PACKED_READ_ONLY 1

// A flag of a packed command or script call: as RS_CALL_IDEMPOTENT.
#define RS_PACKED_IDEMPOTENT 2

// A flag of a packed pipeline: MULTI and EXEC around it, as RS_PIPELINE_ATOMIC.
#define RS_PACKED_ATOMIC 1

// A flag of a packed pipeline: as RS_PIPELINE_REPAIR_UNORDERED.
#define RS_PACKED_REPAIR_UNORDERED 2

// A flag of a packed pipeline: as RS_PIPELINE_TRUST_CACHE.
#define RS_PACKED_TRUST_CACHE 4

// Flag of a packed script or pipeline: it has a token, see `token` of rs_call_options.
#define RS_PACKED_TOKEN 8

// A flag of a packed error: the call may have been executed, or may yet be.
#define RS_PACKED_INDETERMINATE 1

// A flag of a packed error: the call was not executed and will not be.
#define RS_PACKED_NOT_EXECUTED 2

// A flag of a packed completion: the error is followed by the replies of a pipeline that did arrive.
#define RS_PACKED_ARRIVED 4

// A flag of a packed completion: it ends with what the call has cost; see rs_options_set_call_costs.
#define RS_PACKED_COST 8

// A transaction: everything between MULTI and EXEC, without anything in between, or nothing at all.
#define RS_PIPELINE_ATOMIC 1

// Script calls that met NOSCRIPT, because someone flushed the scripts at the wrong moment, are sent again after all
// other items even where that changes the order of what is done to a key. Without it, too, they are sent again, but
// only where no order is lost; see rs_pipeline_exec. Not together with RS_PIPELINE_ATOMIC.
#define RS_PIPELINE_REPAIR_UNORDERED 2

// A transaction does not load scripts again that the server is known to have. It saves their bytes, and a flush by
// someone else lets such a script fail with NOSCRIPT while the others run. Only together with RS_PIPELINE_ATOMIC.
#define RS_PIPELINE_TRUST_CACHE 4

// A time without an end, for the `timeout_ms` of rs_queue_poll, rs_queue_dispatch and rs_queue_poll_packed.
#define RS_FOREVER UINT64_MAX

// A flag of rs_queue_new: no thread in the background looks after the calls; whoever polls the queue does.
#define RS_QUEUE_NO_THREAD 1

// A NULL reply has no type.
#define RS_REPLY_NONE 0

// No value: a nil of RESP2 or RESP3, Lua `false` and `nil`.
#define RS_REPLY_NIL 1

// A status such as `OK`; a string.
#define RS_REPLY_STATUS 2

// An error inside an array or a pipeline; a string.
#define RS_REPLY_ERROR 3

// A signed 64-bit integer.
#define RS_REPLY_INTEGER 4

// A string of bytes.
#define RS_REPLY_STRING 5

// A sequence of replies.
#define RS_REPLY_ARRAY 6

// RESP3: keys and values, elements in turn.
#define RS_REPLY_MAP 7

// RESP3: a sequence without order.
#define RS_REPLY_SET 8

// RESP3: a floating-point number, also readable as a string.
#define RS_REPLY_DOUBLE 9

// RESP3: true (1) or false (0), an integer.
#define RS_REPLY_BOOLEAN 10

// RESP3: an integer of any size, a string of decimal digits.
#define RS_REPLY_BIG_NUMBER 11

// RESP3: a string with a format of three letters.
#define RS_REPLY_VERBATIM 12

// Calls sent: commands, scripts and pipelines, those sent a second time counted again, the handshakes, and what the
// library asks servers for itself.
#define RS_STAT_CALLS 0

// Round trips: bursts of writing to a socket. A burst is all that waits when sending begins; what is queued later
// makes the next one. So calls that travel together share one, and a call made when all before it have ended adds
// exactly one each time that something of it is sent: one for most, one more where a script is loaded again, is
// first used in a transaction, or a server redirects. A pipeline of more than 256 KiB travels in several.
#define RS_STAT_ROUND_TRIPS 1

// Bytes sent, before encryption.
#define RS_STAT_BYTES_SENT 2

// Bytes received, after decryption.
#define RS_STAT_BYTES_RECEIVED 3

// SCRIPT LOADs and FUNCTION LOADs sent of the library's own accord.
#define RS_STAT_SCRIPT_LOADS 4

// Scripts and functions loaded and sent again because the server had lost them.
#define RS_STAT_NOSCRIPT_REPAIRS 5

// Connections opened after the first one to each server, those of commands that wait not counted.
#define RS_STAT_RECONNECTS 6

// MOVED and ASK redirections followed.
#define RS_STAT_REDIRECTS 7

// Calls in flight now, those included whose callers have left.
#define RS_STAT_IN_FLIGHT 8

// How many figures there are in this version; later versions append to them.
#define RS_STAT_COUNT 9

// A connection to a server that any number of threads may share; their calls travel together. Caller frees with
// rs_client_free.
//
// A blocking call does its input and output on the thread that makes it; for submitted calls see rs_queue. A child of
// fork() must open a client of its own: calls on its parent's end with RS_ERR_FORKED. A fork that runs no handlers
// of pthread_atfork, as _Fork(), goes unnoticed.
typedef struct rs_client rs_client;

// A connection that waits for user and password. It belongs to whoever the callback hands it to:
// rs_credentials_answer or rs_credentials_refuse, once, takes it back, now or later and on any thread; it may be
// after the client was freed, which is no error.
typedef struct rs_credentials_request rs_credentials_request;

// Why a call failed. Made by the functions that take an `rs_error **`; caller frees with rs_error_free.
//
// Threads: one at a time.
typedef struct rs_error rs_error;

// Events that clients have had, and credentials that they wait for, which nobody has fetched yet. Caller frees with
// rs_events_free.
typedef struct rs_events rs_events;

// A library of functions, immutable, usable with any client, server and thread. Caller frees with
// rs_library_free; its functions go on without it.
typedef struct rs_library rs_library;

// Options to open clients with; they may be changed and used again afterwards. Caller frees with rs_options_free.
//
// Every setter copies its value. A value that cannot be used is RS_ERR_INVALID_OPTION; a NULL, and a text that is not
// UTF-8, are RS_ERR_INVALID_ARGUMENT. The options stay as they were then. What only makes sense together is checked by
// rs_client_open. No time may be longer than 365 days. Threads: one at a time.
typedef struct rs_options rs_options;

// Commands and script calls to be sent together and answered in order. Caller frees with rs_pipeline_free.
//
// Threads: one at a time. It keeps its client open, as a handle does: see rs_client_free.
typedef struct rs_pipeline rs_pipeline;

// Where submitted calls end. Any number of clients and threads may submit to it, and any number of threads take
// completions out; it outlives the clients. Caller frees with rs_queue_free.
//
// Every call that is accepted has exactly one completion, whatever becomes of it: reply, error, deadline,
// cancellation, close. A client that has submitted a call has a thread in the background from then on, until it is
// closed; it reads the replies (but see RS_QUEUE_NO_THREAD). A submitted call is written by the thread that submits
// it. A child of fork() must make a queue of its own: its parent's is empty there, and all else is RS_ERR_FORKED.
typedef struct rs_queue rs_queue;

// A reply or an element of one. The root: caller frees with rs_reply_free; elements: borrowed until the root is freed.
//
// Every function here takes NULL and any type of reply, in constant time, and never fails: it gives 0 or NULL where
// the question does not fit. Threads: any number may read one reply at once; freeing excludes reading.
typedef struct rs_reply rs_reply;

// A Lua script, or a function of a library (rs_library_function), immutable, usable with any client, server and
// thread. Caller frees with rs_script_free, also while it is being called: calls in flight keep what they need.
typedef struct rs_script rs_script;

// `RS_OK` or one of the `RS_ERR_` numbers.
typedef int32_t rs_status;

// What a call has of its own instead of its client's. NULL in its place, and each field that is 0 or NULL, is the
// client's.
//
// It starts as RS_CALL_OPTIONS_INIT, or as RS_CALL_OPTIONS(...) where it is an argument; `size` is the size that your
// program was compiled with, by which a later library, whose struct has more fields behind these, knows where yours
// ends. It is read before the function returns, and copied. A struct and no object that has to be made: no memory is
// allocated, nothing is to be freed, and one that stays as it is may be used by any number of threads at once.
//
// Errors of each function that takes one: RS_ERR_INVALID_ARGUMENT for a `size` that no version has, flags and numbers
// that are not known, fields that the route or the function has no use for, and where `size` is larger than this
// library's, anything but zeros behind what it knows.
typedef struct {
    // `sizeof(rs_call_options)`.
    uint32_t size;
    // RS_CALL_ flags.
    uint32_t flags;
    // How long the call may take, all its attempts together: milliseconds, up to a year.
    uint64_t timeout_ms;
    // Which servers run the call if it is read-only: one of the RS_READ_FROM_ numbers.
    int32_t read_from;
    // Where the call goes if it has no keys, or is a command whose keys this library does not know: one of the
    // RS_ROUTE_ numbers. Keys go before it. On a client of a single server every route leads there, and with
    // RS_ROUTE_ALL the reply is a map all the same.
    int32_t route;
    // With RS_ROUTE_KEY a key, with RS_ROUTE_NODE a server: `route_len` bytes, NULL is an empty key.
    const char *route_to;
    // The length of `route_to`.
    size_t route_len;
    // With RS_ROUTE_SLOT the slot.
    uint32_t route_slot;
    // 0.
    uint32_t reserved;
    // Of a call of a script that is RS_SCRIPT_ONCE: a token of your own, 1 to 256 bytes; a job's id, a request's.
    // Whoever makes the same call with the same token, in whichever process, gets what the first one was answered.
    // NULL: the library makes a new one for each call.
    const char *token;
    // The length of `token`.
    size_t token_len;
} rs_call_options;

// Gives user and password for a connection to a server, by rs_credentials_answer or rs_credentials_refuse.
//
// It runs on a thread started for it and may block, on an HTTP request for instance: no lock is held, and nothing
// but the connection that it is called for waits, up to the connect timeout and the deadlines of its calls. It may
// be called for several servers at once, but is not called again for a server while a call for it has neither
// answered nor returned. It may return first and answer later. It may free the client; it must not let an exception
// or longjmp out, or end its thread. rs_client_free waits for a call that has answered to return, and not for one
// that has not: that goes on, its answer is nobody's, and the library stays loaded for it.
typedef void (*rs_credentials_fn)(void *context, rs_credentials_request *request);

// Frees the context of a callback, once, after its last call. It may run on any thread.
typedef void (*rs_free_fn)(void *context);

// A call that has ended. The library makes it, and later versions append to it: what lies beyond its `size` is not
// there. Texts are borrowed until the callback returns, and end where their lengths say.
typedef struct {
    // The size of this structure, as the library knows it.
    uint32_t size;
    // One of the RS_CALL_KIND_ numbers.
    int32_t kind;
    // RS_OK, or what the call ended with. An error that is an element of a pipeline's reply is none of the
    // pipeline's.
    rs_status status;
    // One of the RS_REASON_ numbers; 0 with RS_OK.
    int32_t reason;
    // Bytes of it that were put on connections, scripts that were loaded for it among them.
    uint64_t bytes_sent;
    // Bytes of the replies that came.
    uint64_t bytes_received;
    // From its beginning to its end, in nanoseconds.
    uint64_t duration_ns;
    // How often it was put on a connection, its parts on several servers counted each; 0: nothing of it was sent.
    // What a connection sends again by itself because a script was lost is no attempt of its own.
    size_t attempts;
    // How many items it had; 1 where it was no pipeline or transaction.
    size_t items;
    // Of a script its name (rs_script_options), or its SHA1 where it has none; of a command its first word, as it was
    // given; of administration the command. Empty for pipelines and transactions.
    const char *name;
    size_t name_len;
    // Of a script its SHA1: `sha_len` hexadecimal digits, which are 40, and a NUL. NULL and 0 otherwise.
    const char *sha;
    size_t sha_len;
    // The server that it was sent to last: `host:port` or a socket's path. NULL where it was sent to none.
    const char *node;
    size_t node_len;
} rs_call_event;

// Receives the calls of a client, each when it has ended.
//
// It is called on the thread that completes the call, without a lock held, perhaps on several at once: on that of
// the caller, or of whoever drives submitted calls; before the call returns or its completion can be taken out. It
// must be quick and must not block, call the client or free it, let an exception or longjmp out, or end its thread.
typedef void (*rs_call_fn)(void *context, const rs_call_event *event);

// What a library has beside its source. NULL in its place, and each field that is 0, is nothing. It starts
// as RS_LIBRARY_OPTIONS_INIT, or as RS_LIBRARY_OPTIONS(...) where it is an argument; see rs_call_options,
// whose errors are the same.
typedef struct {
    // `sizeof(rs_library_options)`.
    uint32_t size;
    // RS_LIBRARY_ flags.
    uint32_t flags;
    // With RS_LIBRARY_ONCE, as all fields from here on: `token_lifetime_ms` of rs_script_options.
    uint64_t token_lifetime_ms;
    // `wait_timeout_ms` of rs_script_options.
    uint64_t wait_timeout_ms;
    // `reply_limit` of rs_script_options.
    size_t reply_limit;
    // `token_prefix` of rs_script_options.
    const char *token_prefix;
    // The length of `token_prefix`.
    size_t token_prefix_len;
    // `wait_replicas` of rs_script_options.
    size_t wait_replicas;
} rs_library_options;

// What a script has beside its source. NULL in its place, and each field that is 0 or NULL, is nothing. It starts as
// RS_SCRIPT_OPTIONS_INIT, or as RS_SCRIPT_OPTIONS(...) where it is an argument; see rs_call_options, whose errors are
// the same.
typedef struct {
    // `sizeof(rs_script_options)`.
    uint32_t size;
    // RS_SCRIPT_ flags.
    uint32_t flags;
    // What the script is called in figures and events: `name_len` bytes of UTF-8 without control characters, 256 at
    // most. rs_script_name reads it.
    const char *name;
    // The length of `name`.
    size_t name_len;
    // With RS_SCRIPT_ONCE: how long a server remembers a token, from the last call with it on: milliseconds, a
    // second to a year; 0: 5 minutes. A repeat that comes later runs the script again. The library itself sends a
    // call again only within the first half of that time.
    uint64_t token_lifetime_ms;
    // With `wait_replicas`: how long they are waited for at each attempt: milliseconds, up to a day; 0: 1000.
    uint64_t wait_timeout_ms;
    // With RS_SCRIPT_ONCE: the longest reply that is kept for repeats: 64 bytes to 64 MiB; 0: 1 MiB. A longer one
    // reaches the caller that it was made for; a repeat gets RS_ERR_REPLY_NOT_KEPT.
    size_t reply_limit;
    // With RS_SCRIPT_ONCE: what the keys begin with under which tokens are kept: `token_prefix_len` bytes, 256 at
    // most, none of them a `{`; NULL: `rs:once:`. The user needs the right to GET, SET and PEXPIRE there.
    const char *token_prefix;
    // The length of `token_prefix`.
    size_t token_prefix_len;
    // With RS_SCRIPT_ONCE: how many replicas must have a call before it counts as done, up to 1000; 0: none.
    size_t wait_replicas;
} rs_script_options;

// Something that has happened to a client's connections. The library makes it, and later versions append to it: what
// lies beyond its `size` is not there. Texts are borrowed until the callback returns.
typedef struct {
    // The size of this structure, as the library knows it.
    uint32_t size;
    // One of the RS_EVENT_ numbers; later versions have more.
    int32_t kind;
    // One of the RS_LOG_LEVEL_ numbers.
    int32_t level;
    // The status of the error behind it, or RS_OK.
    rs_status status;
    // One of the RS_REASON_ numbers, or 0.
    int32_t reason;
    // The server that it concerns: `host:port` or a socket's path, `node_len` bytes and a NUL. NULL where it is
    // about no one.
    const char *node;
    size_t node_len;
    // The same in words, `message_len` bytes and a NUL; never with a password, a key, an argument or a script.
    const char *message;
    size_t message_len;
} rs_event;

// Receives the events of a client. It is called on the thread on which the event happened, perhaps on several at
// once, and must neither block nor call the client; it may free it. It is not called any more once the client's last
// handle has been freed, and its last pipeline.
typedef void (*rs_log_fn)(void *context, const rs_event *event);

// What has become of a call. 16 bytes and two pointers; the layout is fixed.
typedef struct {
    // The number that the call was submitted with.
    uint64_t tag;
    // The reply; caller frees with rs_reply_free. NULL on failure, unless a pipeline broke half-way: then what did
    // arrive, as with rs_pipeline_exec.
    rs_reply *reply;
    // Why there is none; caller frees with rs_error_free. NULL on success.
    rs_error *error;
    // RS_OK or one of the RS_ERR_ numbers.
    rs_status status;
    // 0.
    uint32_t reserved;
} rs_completion;

// Receives a completion. What is in it is to be freed by the callback.
typedef void (*rs_completion_fn)(void *context, const rs_completion *completion);

// The call succeeded.
#define RS_OK 0

// An argument is NULL, out of range or of the wrong length. Nothing was sent.
#define RS_ERR_INVALID_ARGUMENT 100

// The URL cannot be used. Nothing was sent.
#define RS_ERR_INVALID_URL 101

// An option, or a combination of options, cannot be used. Nothing was sent.
#define RS_ERR_INVALID_OPTION 102

// The command would break the shared connection; the message says how to do it instead. Nothing was sent.
#define RS_ERR_COMMAND_REFUSED 103

// The keys lie in more than one hash slot; the message names two of them. Nothing was sent.
#define RS_ERR_CROSS_SLOT 104

// A read-only call of a script whose first line (`#!lua`) lacks the flag `no-writes`. Nothing was sent.
#define RS_ERR_NOT_READ_ONLY 105

// The client or queue was made before fork(), by the parent process. Nothing was sent.
#define RS_ERR_FORKED 106

// The client is closed or was freed, or the queue is closed. Nothing of the call was sent.
#define RS_ERR_CLOSED 107

// In a cluster: the command's keys are not known to this library, or it concerns one server of several: name a route,
// one of the RS_ROUTE_ numbers. Or no server has the address of the route. Nothing was sent.
#define RS_ERR_NO_ROUTE 108

// The queue holds as many calls as it may, or as many blocking calls are in flight as rs_options_set_max_in_flight
// allows. Nothing was sent.
#define RS_ERR_QUEUE_FULL 109

// No connection: no such host, refused, unreachable, lost before anything was sent, or no descriptors left on this
// side (RS_REASON_RESOURCES). Nothing was executed.
#define RS_ERR_CONNECT 200

// The TLS handshake failed: certificate, host name, protocol. Nothing was executed.
#define RS_ERR_TLS 201

// The server did not accept user, password or database number. Nothing was executed.
#define RS_ERR_AUTH 202

// The deadline passed before anything was sent. Nothing was executed.
#define RS_ERR_TIMEOUT 203

// The caller has cancelled it before anything was sent. Nothing was executed.
#define RS_ERR_CANCELLED 204

// The call was sent and no reply came (deadline, lost connection, malformed reply): the server may have executed it,
// or may yet.
#define RS_ERR_INDETERMINATE 300

// The reply went over a limit of the options; the connection was closed. The server may have executed the call.
#define RS_ERR_REPLY_LIMIT 301

// The call was executed, but up to the deadline too few replicas had it: it is lost if the primary dies now; see
// `wait_replicas` of rs_script_options.
#define RS_ERR_NOT_REPLICATED 302

// The server, or the script, answered with an error.
#define RS_ERR_SERVER 400

// The server lacks the script, and it could not be sent along: in a pipeline it would come out of order, or the user
// may neither load scripts nor evaluate them. The call was not executed.
#define RS_ERR_NOSCRIPT 401

// The script or the library does not compile on that server, or a library does not load there for another fault of
// its own. It was not executed.
#define RS_ERR_COMPILE 402

// The server was still loading its data set when the deadline came. The call was not executed.
#define RS_ERR_LOADING 403

// The server is busy with another script. The call was not executed.
#define RS_ERR_BUSY 404

// The transaction was refused or aborted as a whole. Nothing in it was executed.
#define RS_ERR_TRANSACTION_ABORTED 405

// The server lacks what was asked for, or is not what the URL says (no cluster, no sentinel). Nothing was executed.
#define RS_ERR_NOT_SUPPORTED 406

// Up to the deadline no server of the cluster ran the call: slots without a server, slots on the move, no primary.
// It was not executed.
#define RS_ERR_NOT_SERVED 407

// The server lacks the function, and its library did not bring it there: the library does not register it, this user
// may not load it, the server has no memory for it, or in a pipeline it would come out of order. The call was not
// executed.
#define RS_ERR_NO_FUNCTION 409

// Another script, or other keys or arguments, were called with the token before. This call was not executed; see
// RS_SCRIPT_ONCE.
#define RS_ERR_TOKEN_MISMATCH 410

// The call was executed, by an attempt before this one or by an earlier call with its token, and its reply was too
// long to be kept; see RS_SCRIPT_ONCE.
#define RS_ERR_REPLY_NOT_KEPT 411

// A defect of this library. Whether the call was executed is not known.
#define RS_ERR_INTERNAL 500

// There is no memory for the call, and nothing of it was sent; or there is none for its reply, and the server may
// have executed it. rs_error_is_not_executed tells which. Where a reply was being received, or a call was half
// written, the connection was closed; other calls on it end with RS_ERR_INDETERMINATE, or with this one if nothing
// of them was sent.
#define RS_ERR_NO_MEMORY 501

// The system has no descriptors or threads left for a queue, or for the client's thread that submitted calls need.
// Nothing was sent.
#define RS_ERR_RESOURCES 502

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it by
// itself.
//
// In a cluster the error says which primaries have done it; the same for rs_client_script_flush. What each primary
// says by itself: the command with RS_ROUTE_ALL.
//
// `err` may be NULL. Errors: RS_ERR_COMPILE, or any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/script-load/>
rs_status rs_client_script_load(rs_client *client,
                                const rs_script *script,
                                rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(script);

// Asks which scripts the server has in its cache; in a cluster, which of them every primary has. A primary that
// cannot be reached is an error: without it nobody knows.
//
// `shas`: `count` SHA1s of 40 hexadecimal digits; `shalens`: their lengths, or NULL when each ends in a NUL; copied.
// `exists`: `count` places, NULL where that is 0; each becomes true or false, all false on failure, unless `count` is
// above 2147483647 and can be no array's. `err` may be NULL. Errors: any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/script-exists/>
rs_status rs_client_script_exists(rs_client *client,
                                  size_t count,
                                  const char *const *shas,
                                  const size_t *shalens,
                                  bool *exists,
                                  rs_error **err)
    RS_NOT_NULL(client);

// Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
//
// `mode`: one of the RS_FLUSH_ numbers. `err` may be NULL. Errors: any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/script-flush/>
rs_status rs_client_script_flush(rs_client *client,
                                 int32_t mode,
                                 rs_error **err)
    RS_NOT_NULL(client);

// Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the
// primaries are running. They need not be this client's. In a cluster one script stopped is a success, and
// UNKILLABLE outranks NOTBUSY. A function is not stopped so, and the error is RS_ERR_BUSY: see rs_client_kill.
//
// Opens a connection of its own for it, because a busy server answers nothing else. `err` may be NULL. Errors:
// RS_ERR_SERVER with the server's word NOTBUSY (no script runs) or UNKILLABLE (it has written), or any of RS_ERR_.
// Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/script-kill/>
rs_status rs_client_script_kill(rs_client *client,
                                rs_error **err)
    RS_NOT_NULL(client);

// Stops what the server is running, a script or a function, if it has not written yet; in a cluster, what the
// primaries are running. It need not be this client's. In a cluster one success is a success, and UNKILLABLE
// outranks NOTBUSY.
//
// `*killed`: what was stopped, an array with an array of three for each: the string `script` or `function`; the
// function's name, or nil for a script, which the server does not name, and where this user may not run FUNCTION
// STATS; the server as `host:port` or the path of its socket. Caller frees with rs_reply_free; NULL on failure.
// `killed` may be NULL.
//
// Opens a connection of its own for it, because a busy server answers nothing else. `err` may be NULL. Errors:
// RS_ERR_SERVER with the server's word NOTBUSY (nothing runs) or UNKILLABLE (it has written), or any of RS_ERR_.
// Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/script-kill/>, <https://redis.io/docs/latest/commands/function-kill/>
rs_status rs_client_kill(rs_client *client,
                         rs_reply **killed,
                         rs_error **err)
    RS_NOT_NULL(client);

// Gives the source of a script by its SHA1.
//
// `sha`: `len` bytes, 40 hexadecimal digits; copied. `*source`: a string, caller frees with rs_reply_free; NULL when
// the server does not have the script, and on failure; `source` not NULL. `err` may be NULL. Errors:
// RS_ERR_NOT_SUPPORTED before Valkey 8, or any of RS_ERR_. Threads: any.
//
// Valkey: <https://valkey.io/commands/script-show/>
rs_status rs_client_script_show(rs_client *client,
                                const char *sha,
                                size_t len,
                                rs_reply **source,
                                rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(sha) RS_NOT_NULL(source);

// Opens a client, and its connection unless the options say "lazy".
//
// `url`: `redis://[[user]:password@]host[:port][/database]`, `rediss://...` for TLS, `unix:///path`, a cluster as
// `redis+cluster://[[user]:password@]host[:port],host[:port],...`, or the primary of a service behind sentinels as
// `redis+sentinel://[[user]:password@]host[:port],.../service[/database]`; copied. `options`: NULL for the defaults;
// copied. `*client`: caller frees with rs_client_free; NULL on failure; `client` not NULL. `err` may be NULL.
//
// Each server that the URL names is tried once, for no longer than the connect timeout; all of it takes no longer
// than the call timeout.
//
// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_INVALID_URL, RS_ERR_INVALID_OPTION; RS_ERR_CONNECT, RS_ERR_TLS,
// RS_ERR_AUTH, RS_ERR_TIMEOUT; RS_ERR_NOT_SUPPORTED where the server is not what the URL says (no cluster, no
// sentinel) or does not speak the RESP3 that was asked for; RS_ERR_LOADING, RS_ERR_BUSY and RS_ERR_NOT_SERVED where
// the servers answer so. Threads: any.
RS_NODISCARD
rs_status rs_client_open(const char *url,
                         const rs_options *options,
                         rs_client **client,
                         rs_error **err)
    RS_NOT_NULL(url) RS_NOT_NULL(client);

// Another handle of the same client, whose calls have these options unless they say otherwise themselves. It shares
// the connections and is closed with the client.
//
// `defaults`: `timeout_ms`, `read_from` and `route`, what is not set stays as `client` has it; `flags` and `token`
// belong to a call and are 0 here; copied. `*view`: caller frees with rs_client_free; NULL on failure; `view` not
// NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT. Threads: any.
RS_NODISCARD
rs_status rs_client_with(rs_client *client,
                         const rs_call_options *defaults,
                         rs_client **view,
                         rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(view);

// Sends a command as it is, for example `SET foo 2`, and waits for its reply.
//
// `argv`: `argc` arguments, the command's name first; `argvlen`: their lengths, or NULL when each ends in a NUL;
// copied. `options`: NULL for the client's; copied. `err` may be NULL. `*reply`: caller frees with rs_reply_free;
// NULL on failure; `reply` may be NULL when it is of no interest.
//
// Commands that would change the connection under other callers (MULTI, WATCH, SUBSCRIBE, MONITOR, SELECT, AUTH,
// HELLO, CLIENT REPLY, ...) are refused with RS_ERR_COMMAND_REFUSED. Commands that wait (BLPOP, XREAD BLOCK, ...)
// get a connection of their own, opened for them. In a cluster a command goes to the primary that has its keys. One
// without keys goes to any primary if they all answer it alike (PING, PUBLISH, ...); any other needs a route, such
// as RS_ROUTE_ALL: RS_ERR_NO_ROUTE.
//
// Errors: any of RS_ERR_. A command is sent again only when the server provably did not run it, as after a
// redirection: when its reply is lost the status is RS_ERR_INDETERMINATE, unless the flags allow it to run twice.
// Threads: any.
rs_status rs_client_command(rs_client *client,
                            size_t argc,
                            const char *const *argv,
                            const size_t *argvlen,
                            const rs_call_options *options,
                            rs_reply **reply,
                            rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(argv);

// Closes the client under all its handles. Calls in flight on other threads end at once: with RS_ERR_CLOSED, or with
// RS_ERR_INDETERMINATE where bytes were sent; one that is connecting gives up. Later calls end with RS_ERR_CLOSED.
// The handles are still to be freed. In a child of fork() it does nothing: the connection is the parent's.
//
// NULL: does nothing. Errors: none. Threads: any.
void rs_client_close(rs_client *client);

// Frees a handle of a client; the last one closes it, and waits until its threads have ended: a moment, unless one
// of them is in the log callback. Then every call that was submitted is completed, and the log callback is not
// called any more. A pipeline keeps a client open as a handle does: where one is left, all this happens when that is
// freed. Scripts do not keep it open: calling one that was registered with it ends with RS_ERR_CLOSED then.
//
// Called in the callback for the log or for credentials, of whichever client, it does not wait: the client's threads
// end by themselves, and the library stays loaded. Where a call of the same thread has led to the log callback, the
// handle's memory is not given back either, because the call still uses it, and the contexts of the client's call
// hook and credentials are not freed. In a callback of rs_queue_dispatch it works as everywhere else.
//
// NULL: does nothing. Errors: none. Threads: not while another thread uses this handle.
void rs_client_free(rs_client *client);

// The authorities to trust instead of the system's, in PEM form: `len` bytes; copied. In place of
// rs_options_set_tls_ca_file. TLS URLs only; checked by rs_client_open.
rs_status rs_options_set_tls_ca_pem(rs_options *options,
                                    const char *pem,
                                    size_t len,
                                    rs_error **err)
    RS_NOT_NULL(options);

// The client certificate, its chain included, and its key (PKCS#8, PKCS#1 or SEC1; not encrypted), in PEM form;
// copied. In place of rs_options_set_tls_client_cert. TLS URLs only; checked by rs_client_open. The copies of the
// key are overwritten when the options and clients that hold them are freed.
rs_status rs_options_set_tls_client_cert_pem(rs_options *options,
                                             const char *cert,
                                             size_t cert_len,
                                             const char *key,
                                             size_t key_len,
                                             rs_error **err)
    RS_NOT_NULL(options);

// Ask for user and password whenever a connection to a server is made, in place of a password that stays the same:
// for tokens that expire, and passwords that are rotated. Sentinels keep their own. With a user or a password in the
// URL or in these options besides, rs_client_open ends with RS_ERR_INVALID_OPTION. Default: nobody is asked.
//
// Open connections log in again when their credentials are due (`lifetime_ms` of rs_credentials_answer), and
// when rs_client_reauthenticate says so. AUTH goes between the calls of others then. Where it is refused, or there
// is no answer, the connection stays in use, the log is told with RS_LOG_LEVEL_WARNING, and it is tried again: after a
// second first, then more seldom, up to once a minute. An answer with another user has the connection replaced by a
// new one. A command that waits on a connection of its own (BLPOP) is left as it is.
//
// `credentials`: NULL for nobody. `context`: handed to it each time, on any thread. `context_free`: called with it,
// once, when neither these options nor a client of theirs nor a call of `credentials` needs it any more; may be
// NULL. On failure it is called before this returns.
//
// Redis: <https://redis.io/docs/latest/commands/auth/>.
rs_status rs_options_set_credentials(rs_options *options,
                                     rs_credentials_fn credentials,
                                     void *context,
                                     rs_free_fn context_free,
                                     rs_error **err)
    RS_NOT_NULL(options);

// The server that a connection is made to: `host:port` or a socket's path.
//
// Returns: borrowed until the request is answered or refused. NULL: an empty text. Errors: none. Threads: any.
const char *rs_credentials_node(const rs_credentials_request *request);

// Gives user and password, and takes the request back, whatever is returned: with an error the request is refused
// with its text.
//
// `username`: ends in a NUL; NULL for the user `default`; copied. `password`: `len` bytes, however many; copied, and
// overwritten when the server has taken it. `lifetime_ms`: how long they are good for from now on: connections that
// stand ask again when three quarters of it are over; 0: for as long as a connection lives; below 1000 it is taken
// for 1000.
//
// Errors: RS_ERR_INVALID_ARGUMENT. Threads: any.
rs_status rs_credentials_answer(rs_credentials_request *request,
                                const char *username,
                                const char *password,
                                size_t len,
                                uint64_t lifetime_ms,
                                rs_error **err)
    RS_NOT_NULL(request);

// Says that there are no credentials, and why, and takes the request back: the attempt to connect fails with
// RS_ERR_AUTH and this text, and nothing was executed. An open connection stays in use.
//
// `why`: ends in a NUL; copied; it must hold no secret. NULL: no text. NULL `request`: does nothing. Errors: none.
// Threads: any.
void rs_credentials_refuse(rs_credentials_request *request,
                           const char *why);

// Asks for credentials again (rs_options_set_credentials) and has every open connection log in with them,
// between the calls of others: for when a password has been rotated, or is about to be. Returns when all have.
//
// Connections that are made meanwhile count too, those of commands that wait (BLPOP) do not. That one is lost
// meanwhile is no error: whatever takes its place asks anew. On failure the connections stay in use, and try again by
// themselves.
//
// Errors: RS_ERR_AUTH (a server has refused the login, or there was nothing to log in with; rs_error_node says for
// which), RS_ERR_INDETERMINATE (the deadline passed; some may have logged in), RS_ERR_INVALID_ARGUMENT (NULL, or the
// client has no callback to ask), RS_ERR_CLOSED, RS_ERR_FORKED. Threads: any.
rs_status rs_client_reauthenticate(rs_client *client,
                                   rs_error **err)
    RS_NOT_NULL(client);

// The status that the failed function returned.
//
// NULL: RS_OK. Errors: none.
rs_status rs_error_status(const rs_error *error);

// What happened, as a sentence that ends in a NUL. Never holds a password. It may hold the server's own text, cut off
// after 64 KiB, and that may quote a piece of a script that does not compile, or what a script has put into its
// error.
//
// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
const char *rs_error_message(const rs_error *error);

// The first word of the server's error text, such as `WRONGTYPE`, `NOPERM` or `ERR`; empty when the server did not
// answer.
//
// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
const char *rs_error_server_code(const rs_error *error);

// Whether the call may have been executed, or may yet be, without this side ever learning of it; also where it was
// executed and may be lost again (RS_ERR_NOT_REPLICATED).
//
// NULL: false. Errors: none.
bool rs_error_is_indeterminate(const rs_error *error);

// Whether it is certain that the call was not executed and will not be, so that it may be made again. Neither this
// nor rs_error_is_indeterminate holds for most errors of a script: it has done what it did before it failed.
//
// NULL: false. Errors: none.
bool rs_error_is_not_executed(const rs_error *error);

// What ended the call, one of the RS_REASON_ numbers, whatever is known of its execution: a deadline and a lost
// connection may both be RS_ERR_INDETERMINATE. Later versions may have more of them.
//
// NULL: 0. Errors: none.
int32_t rs_error_reason(const rs_error *error);

// The item of a pipeline or transaction that the error is about, counted from 0; of several without an answer, the
// first. RS_NO_INDEX: it is about no one item.
//
// NULL: RS_NO_INDEX. Errors: none.
size_t rs_error_index(const rs_error *error);

// The server that the error is about, as `host:port` or the path of a socket; empty where no server is to blame, or
// which one is not known.
//
// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
const char *rs_error_node(const rs_error *error);

// Frees an error.
//
// NULL: does nothing. Errors: none.
void rs_error_free(rs_error *error);

// The name of a status, such as `RS_ERR_INDETERMINATE`.
//
// Returns: a string that lives as long as the library. A number that is no status: `RS_ERR_UNKNOWN`. Threads: any.
const char *rs_status_name(rs_status status);

// The name of a reason, such as `RS_REASON_DEADLINE`.
//
// Returns: a string that lives as long as the library. A number that is no reason: `RS_REASON_UNKNOWN`. Threads: any.
const char *rs_reason_name(int32_t reason);

// Makes a place for events. Clients that are opened with options that name it (rs_options_set_events) put theirs
// there and wake `queue`, as rs_queue_wake does: whoever waits for its descriptor fetches them with rs_events_take
// after each poll.
//
// `capacity`: above 0; of more events the oldest are dropped, and of more requests for credentials the oldest
// refused. `queue`: not NULL; it may be freed before. `*events`: caller frees with rs_events_free; NULL on failure;
// `events` not NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
RS_NODISCARD
rs_status rs_events_new(size_t capacity,
                        rs_queue *queue,
                        rs_events **events,
                        rs_error **err)
    RS_NOT_NULL(queue) RS_NOT_NULL(events);

// Has clients that are opened with these options put what rs_options_set_log would tell of there, in its place:
// either takes the other's place.
//
// `events`: not NULL; it may be freed before the options and the clients, and then nobody is told. `err` may be NULL.
// Errors: RS_ERR_INVALID_ARGUMENT. Threads: one at a time for the same options.
rs_status rs_options_set_events(rs_options *options,
                                rs_events *events,
                                rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(events);

// Takes events out, in the order in which they came, as many as fit.
//
// `buffer`: `capacity` bytes; each event is four i32 and two texts, in the machine's byte order and not aligned: its
// RS_EVENT_ kind (others may come), its RS_LOG_LEVEL_ level, the RS_ERR_ status and the RS_REASON_ of the error
// behind it or 0, the server, empty where none is known, and the message, each as a u32 length and its bytes.
// `*used`: bytes written. `*needed`: what the next one takes that did not fit, else 0. `*dropped`: how many were
// dropped since the last time. All three are 0 on failure, and each may be NULL. `err` may be NULL. Errors:
// RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
rs_status rs_events_take(rs_events *events,
                         char *buffer,
                         size_t capacity,
                         size_t *used,
                         size_t *needed,
                         size_t *dropped,
                         rs_error **err)
    RS_NOT_NULL(events);

// Has clients that are opened with these options ask for user and password there: rs_events_take_credentials, after
// each poll as with events, takes the requests out. As rs_options_set_credentials in all else; either takes the
// other's place. As long as a request has no answer another may come for the same server, from a further connection
// or a further attempt.
//
// `events`: not NULL; where it is freed before the options and the clients, no connection gets credentials any more.
// `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT. Threads: one at a time for the same options.
rs_status rs_options_set_credentials_events(rs_options *options,
                                            rs_events *events,
                                            rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(events);

// Takes a request for credentials out, in the order in which they came.
//
// `*request`: to be given back, now or later, by rs_credentials_answer or rs_credentials_refuse; NULL where there is
// none, and on failure. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
rs_status rs_events_take_credentials(rs_events *events,
                                     rs_credentials_request **request,
                                     rs_error **err)
    RS_NOT_NULL(events) RS_NOT_NULL(request);

// Frees a place for events and those in it; requests for credentials are refused. Clients that put theirs there go
// on, tell nobody, and get no credentials.
//
// NULL: does nothing. Errors: none. Threads: not while another thread uses it; clients do not count.
void rs_events_free(rs_events *events);

// Be told of each call that has ended, in clients opened with these options: what it was, where it went, what it
// cost and what came of it. A pipeline or transaction is one call. Calls that are refused before they begin (their
// arguments, a full queue) are not told of. On, it adds about an eighth to the library's instructions for a call, to
// read the clock once more, hold pthread_cancel off and put the event together. Default: nobody is told, which costs
// nothing.
//
// `call`: NULL for nobody. `context`: handed to `call` each time, on any thread. `context_free`: called with it,
// once, when neither these options nor a client of theirs needs it any more; may be NULL. On failure it is called
// before this returns.
rs_status rs_options_set_call_hook(rs_options *options,
                                   rs_call_fn call,
                                   void *context,
                                   rs_free_fn context_free,
                                   rs_error **err)
    RS_NOT_NULL(options);

// True: what rs_queue_poll_packed takes out tells what each call has cost (RS_PACKED_COST), once it has ended: for
// bindings, whose languages cannot be called back on the thread that completes a call. Calls that never began (what
// is wrong with one of a batch) have none. Default: false, which costs nothing.
rs_status rs_options_set_call_costs(rs_options *options,
                                    bool tell,
                                    rs_error **err)
    RS_NOT_NULL(options);

// Keep figures of so many scripts, and of all others together: see rs_client_script_stats. 0: none. A script takes
// 21 KiB once it is called. Default: 0.
rs_status rs_options_set_script_stats(rs_options *options,
                                      size_t max_scripts,
                                      rs_error **err)
    RS_NOT_NULL(options);

// What became of the calls of each script since the client was opened, those called most first; see
// rs_options_set_script_stats, without which there is nothing. Nothing is sent.
//
// `*reply`: an array with a map for each script; caller frees with rs_reply_free; NULL on failure. Each map has, as
// strings, `sha` and `name`, which is nil where the script has none; as integers `calls` (that have ended, items of
// pipelines and transactions among them), `loads` (SCRIPT LOADs sent of it, or FUNCTION LOADs of its library),
// `repairs` (how often it was sent again because a server had lost it), `errors` (calls that ended with an error of
// any kind) and `indeterminate` (those of them of which nobody knows whether they were executed); and a map
// `latency` of the calls by themselves: `count`, `sum_us`, `p50_us`, `p90_us`, `p99_us`, `p999_us`, `max_us`, in
// microseconds and to 1 %, up to 100 seconds; and `buckets`, an array of pairs: the longest time in microseconds
// that is counted in a bucket, and how many calls are. Later versions append to the maps. All scripts that were too
// many to be counted by themselves stand last, with nil for `sha`.
//
// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED, RS_ERR_NO_MEMORY. Threads: any.
rs_status rs_client_script_stats(const rs_client *client,
                                 rs_reply **reply,
                                 rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(reply);

// Makes a library of exactly these bytes. No input or output takes place; whether it compiles shows at the
// first call of a function of it.
//
// `client`: the one that calls use which name none; may be NULL; it is not kept open by the library.
// `source`: `len` bytes, the first line `#!lua name=...`; copied. `options`: may be NULL; copied.
// `*library`: caller frees with rs_library_free; NULL on failure; `library` not NULL. `err` may be NULL.
//
// Errors: RS_ERR_INVALID_ARGUMENT, for a source without such a first line too. Threads: any.
//
// Redis: <https://redis.io/docs/latest/develop/programmability/functions-intro/>
RS_NODISCARD
rs_status rs_library_register(rs_client *client,
                              const char *source,
                              size_t len,
                              const rs_library_options *options,
                              rs_library **library,
                              rs_error **err)
    RS_NOT_NULL(library);

// Gives a function of a library, to be called as a script: rs_script_call and all else that takes one sends
// it as FCALL, or FCALL_RO. The library is loaded in front of the first call on a connection, in the same
// write, and again where a server has lost it.
//
// `name`: as it is registered in the library's source, `name_len` letters, digits and underscores, 256 at
// most; copied. `options`: NULL, or those of a script without RS_SCRIPT_AS_FUNCTION; copied. `*script`:
// caller frees with rs_script_free; NULL on failure; `script` not NULL. Its rs_script_sha is of the
// library's code and the function's name, and known to no server. `err` may be NULL.
//
// Errors: RS_ERR_INVALID_ARGUMENT. Calls end with RS_ERR_NO_FUNCTION where the library does not register the
// function or may not be loaded, with RS_ERR_COMPILE where it does not load, with RS_ERR_NOT_SUPPORTED where
// the server has no functions; none of these was executed. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/fcall/>
RS_NODISCARD
rs_status rs_library_function(const rs_library *library,
                              const char *name,
                              size_t name_len,
                              const rs_script_options *options,
                              rs_script **script,
                              rs_error **err)
    RS_NOT_NULL(library) RS_NOT_NULL(script);

// The library's name as the server knows it, ending in a NUL: of a pinned one with the digest behind it.
//
// Returns: borrowed until rs_library_free. NULL: an empty string. Errors: none. Threads: any.
const char *rs_library_name(const rs_library *library);

// Frees a library. Its functions and their calls in flight go on undisturbed.
//
// NULL: does nothing. Errors: none. Threads: not while another thread enters a function with this handle.
void rs_library_free(rs_library *library);

// Loads a library into the server; in a cluster, into every primary. There is no need to: a call does it by
// itself. What is there of that name stays as it is.
//
// `*done`: a map from each primary's `host:port`, or the path of its socket, to the string `loaded`, or
// `there` where a library of that name was there already, or the error by which it has not got it, which
// rs_reply_error tells more of. Where none has, that is the function's error. Caller frees with
// rs_reply_free; NULL on failure; `done` may be NULL. `err` may be NULL.
//
// Errors: RS_ERR_COMPILE for a library that does not compile, registers nothing, or registers a function
// that another library has registered; or any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/function-load/>
rs_status rs_client_library_load(rs_client *client,
                                 const rs_library *library,
                                 rs_reply **done,
                                 rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(library);

// Compares a library with the one of its name on the server; in a cluster, on every primary. It changes nothing.
//
// `*found`: a map from each primary's `host:port`, or the path of its socket, to the string `same`,
// `different` or `absent`, or the error by which that is not known. Where it is known of none, that is the
// function's error. Caller frees with rs_reply_free; NULL on failure; `found` may be NULL. `err` may be
// NULL.
//
// Errors: any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/function-list/>
rs_status rs_client_library_check(rs_client *client,
                                  const rs_library *library,
                                  rs_reply **found,
                                  rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(library);

// Puts a library in the place of the one of its name, on the server; in a cluster, on every primary, one by
// one. This is the one place where a library is replaced: a function that the new one lacks is from then on
// an error for all who call it. A pinned library replaces nothing.
//
// `*done`: a map from each primary's `host:port`, or the path of its socket, to what it has, looked at
// behind the load: the string `same`, or `different` or `absent` if somebody else was at it; or to the error
// by which it has kept what it had. Where none has taken it, that is the function's error. Caller frees with
// rs_reply_free; NULL on failure; `done` may be NULL. `err` may be NULL.
//
// Errors: as with rs_client_library_load. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/function-load/>
rs_status rs_client_library_deploy(rs_client *client,
                                   const rs_library *library,
                                   rs_reply **done,
                                   rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(library);

// Tells which libraries the server has, whoever has loaded them; in a cluster, those of every primary.
//
// `*libraries`: a map from each primary's `host:port`, or the path of its socket, to its answer to FUNCTION
// LIST, an array with a map for each library (`library_name`, `engine`, `functions`; with RESP2 an array of
// names and values), or its error. Where each gave one, that is the function's error. Caller frees with
// rs_reply_free; NULL on failure; `libraries` not NULL. `err` may be NULL.
//
// Errors: any of RS_ERR_. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/function-list/>
rs_status rs_client_library_list(rs_client *client,
                                 rs_reply **libraries,
                                 rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(libraries);

// Removes the other versions of these pinned libraries from the server; in a cluster, from every primary.
// Libraries that are not pinned, or were not called like one of these, stay. Nothing is ever removed but by
// this: who still calls a version that is gone has it loaded again.
//
// `keep`: `count` libraries, at least one. `*removed`: a map from each primary's `host:port`, or the path of
// its socket, to an array of the names that were removed there, or the error of the first one that was not,
// which names those that were. Where each gave one, that is the function's error. Caller frees with
// rs_reply_free; NULL on failure; `removed` may be NULL. `err` may be NULL.
//
// Errors: RS_ERR_INVALID_ARGUMENT for no library, and for one that is RS_LIBRARY_NAMED; or any of RS_ERR_.
// Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/function-delete/>
rs_status rs_client_library_prune(rs_client *client,
                                  size_t count,
                                  const rs_library *const *keep,
                                  rs_reply **removed,
                                  rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(keep);

// The server's name for a function, ending in a NUL: of a pinned library's with the digest behind it. Of a
// script that is RS_SCRIPT_AS_FUNCTION, the name by which it is called.
//
// Returns: borrowed until rs_script_free. NULL, and a script that is no function: an empty string. Errors: none.
// Threads: any.
const char *rs_script_function_name(const rs_script *script);

// Makes options with every default.
//
// Returns: caller frees with rs_options_free. Errors: none. Threads: any.
RS_NODISCARD rs_options *rs_options_new(void);

// Frees options. Clients opened with them are not touched.
//
// NULL: does nothing. Errors: none.
void rs_options_free(rs_options *options);

// How long one attempt to connect may take: name look-up, TCP, TLS and handshake together. Milliseconds above 0;
// default 5000.
rs_status rs_options_set_connect_timeout_ms(rs_options *options,
                                            uint64_t timeout_ms,
                                            rs_error **err)
    RS_NOT_NULL(options);

// How long a call may take, all its attempts together. Milliseconds above 0; default 10000. See also rs_call_options.
rs_status rs_options_set_call_timeout_ms(rs_options *options,
                                         uint64_t timeout_ms,
                                         rs_error **err)
    RS_NOT_NULL(options);

// When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and calls
// were waiting on it for so long without a single byte coming. New calls take a new connection from then on; those
// that wait on the old one go on waiting until their own deadlines. Several calls that were lost on it, are not
// answered, and hold more than 16 MiB together have the same effect at once, also where others are answered. Wins over
// the URL's silence_timeout_ms. Milliseconds above 0; default 500.
rs_status rs_options_set_silence_timeout_ms(rs_options *options,
                                            uint64_t timeout_ms,
                                            rs_error **err)
    RS_NOT_NULL(options);

// The ACL user; wins over the URL's. Needs a password. Default: none, which is the user `default`.
rs_status rs_options_set_username(rs_options *options,
                                  const char *username,
                                  rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(username);

// The password, `len` bytes; wins over the URL's. Default: none.
rs_status rs_options_set_password(rs_options *options,
                                  const char *password,
                                  size_t len,
                                  rs_error **err)
    RS_NOT_NULL(options);

// The name in CLIENT LIST; printable ASCII without spaces. Default: none.
rs_status rs_options_set_client_name(rs_options *options,
                                     const char *name,
                                     rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(name);

// One of the RS_PROTOCOL_ numbers. Default: RS_PROTOCOL_AUTO.
rs_status rs_options_set_protocol(rs_options *options, int32_t protocol, rs_error **err) RS_NOT_NULL(options);

// A PEM file of the authorities to trust instead of the system's. TLS URLs only. From memory:
// rs_options_set_tls_ca_pem.
//
// Like the other files of TLS it is read by rs_client_open, and again for each connection: one that has been
// replaced counts from the next connection on. One that cannot be read or used then is the error of that attempt to
// connect; open connections go on.
rs_status rs_options_set_tls_ca_file(rs_options *options,
                                     const char *path,
                                     rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(path);

// PEM files of the client certificate, its chain included, and of its key. TLS URLs only; read by rs_client_open,
// and again for each connection. Where one has been replaced already and the other has not, they do not fit, and
// that attempt to connect fails. From memory: rs_options_set_tls_client_cert_pem.
rs_status rs_options_set_tls_client_cert(rs_options *options,
                                         const char *cert_path,
                                         const char *key_path,
                                         rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(cert_path) RS_NOT_NULL(key_path);

// The host name or address that the server's certificate must hold, instead of the URL's host.
rs_status rs_options_set_tls_server_name(rs_options *options,
                                         const char *name,
                                         rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(name);

// True: accept any certificate. Anybody on the network path can read and change everything then. Default: false.
rs_status rs_options_set_tls_insecure_skip_verify(rs_options *options,
                                                  bool skip,
                                                  rs_error **err)
    RS_NOT_NULL(options);

// TCP keep-alive: the first probe after so long a silence. Milliseconds, which the system has rounded up to whole
// seconds, up to 32767000; 0: none. After as long again without an answer the connection is lost. On Linux one is
// lost as well whose sent bytes were not acknowledged for that time (TCP_USER_TIMEOUT: twice this option). Default:
// 60000.
rs_status rs_options_set_keepalive_ms(rs_options *options,
                                      uint64_t idle_ms,
                                      rs_error **err)
    RS_NOT_NULL(options);

// The pause before the second attempt to connect, and the longest pause; it doubles in between and is shortened at
// random by up to half. Milliseconds above 0; default 20 and 1000.
rs_status rs_options_set_reconnect_backoff_ms(rs_options *options,
                                              uint64_t min_ms,
                                              uint64_t max_ms,
                                              rs_error **err)
    RS_NOT_NULL(options);

// After how many failed attempts to connect a call gives up; 0: not before its deadline. In a cluster, and behind
// sentinels, only an attempt in which no server could be reached counts: as long as one answers, a call waits for a
// primary until its deadline. rs_client_open tries once. Default: 5.
rs_status rs_options_set_reconnect_attempts(rs_options *options,
                                            size_t attempts,
                                            rs_error **err)
    RS_NOT_NULL(options);

// The longest reply, in bytes on the wire; over it the connection is closed and the call ends with
// RS_ERR_REPLY_LIMIT. At least 65536; default 513 MiB.
rs_status rs_options_set_max_reply_bytes(rs_options *options,
                                         size_t bytes,
                                         rs_error **err)
    RS_NOT_NULL(options);

// How deep arrays, maps and sets of a reply may be nested; over it the same happens. 8 to 1024; default 128.
rs_status rs_options_set_max_reply_depth(rs_options *options,
                                         size_t depth,
                                         rs_error **err)
    RS_NOT_NULL(options);

// How many commands may wait on servers at a time (BLPOP, XREAD BLOCK, ...), 1 at least: each has a connection of
// its own. More stand in line until one has ended, or their deadlines have passed; no other call stands behind them.
// Default: 1000.
rs_status rs_options_set_max_waiting(rs_options *options,
                                     size_t count,
                                     rs_error **err)
    RS_NOT_NULL(options);

// How many connections to each server calls may share, 1 to 64. Default: 1, on which a reply of 64 MiB, or a
// pipeline of slow scripts, holds up all calls behind it.
//
// With more, a call takes the connection with the fewest calls under way, and another is made where all have some.
// Calls with a key in common keep their order: they take the same connection, and where such calls are under way on
// several, a call waits for them before it is sent. So does one that may touch anything, such as FLUSHALL or a
// script without keys, with all calls before and behind it. A blocking call costs a little more than on one
// connection.
rs_status rs_options_set_shared_connections(rs_options *options,
                                            size_t count,
                                            rs_error **err)
    RS_NOT_NULL(options);

// How many blocking calls may be in flight at a time, of all threads together; 0: any number. One more ends at once
// with RS_ERR_QUEUE_FULL, and nothing of it is sent: so a server that is slow does not collect every thread of a
// program. Submitted calls are bounded by their queues. Administration of scripts and libraries is not counted, nor is
// what stops a script. Default: 0.
rs_status rs_options_set_max_in_flight(rs_options *options,
                                       size_t calls,
                                       rs_error **err)
    RS_NOT_NULL(options);

// True: rs_client_open does not connect, the first call does. Default: false.
rs_status rs_options_set_lazy_connect(rs_options *options, bool lazy, rs_error **err) RS_NOT_NULL(options);

// False: no connection tells the server by CLIENT SETINFO which library this is, in which version (CLIENT LIST shows
// it). Where the user lacks the right, each connection leaves an entry in ACL LOG. In place of the URL's
// `client_info`. Default: true.
rs_status rs_options_set_client_info(rs_options *options,
                                     bool tell,
                                     rs_error **err)
    RS_NOT_NULL(options);

// False: no connection runs an empty transaction (MULTI, EXEC) with its login, to see whether this user may run any.
// Where the user lacks the right, each connection leaves an entry in ACL LOG. Without it the first transaction on
// each connection costs a round trip more. In place of the URL's `probe_transactions`. Default: true.
rs_status rs_options_set_probe_transactions(rs_options *options,
                                            bool probe,
                                            rs_error **err)
    RS_NOT_NULL(options);

// Which servers run read-only calls: one of the RS_READ_FROM_ numbers. Everything else runs on primaries. A replica
// is behind its primary by what is still on the way; one that is lost, loads its data or says that it has lost its
// primary is passed over. A server older than 7.0 cannot run a script read-only: such calls go to its primary.
// Default: RS_READ_FROM_PRIMARY. See also rs_call_options.
rs_status rs_options_set_read_from(rs_options *options,
                                   int32_t read_from,
                                   rs_error **err)
    RS_NOT_NULL(options);

// Connect to `reachable` wherever the servers themselves speak of `announced`: for servers behind a NAT, a tunnel or
// a container's network. Each is `host:port`, an IPv6 address in brackets, ending in a NUL. It concerns the
// addresses that a cluster, a primary or a sentinel announces, not those of the URL. Call it once for each address.
rs_status rs_options_map_address(rs_options *options,
                                 const char *announced,
                                 const char *reachable,
                                 rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(announced) RS_NOT_NULL(reachable);

// The user to authenticate as with the sentinels, UTF-8 ending in a NUL. Needs rs_options_set_sentinel_password.
// Default: none.
rs_status rs_options_set_sentinel_username(rs_options *options,
                                           const char *username,
                                           rs_error **err)
    RS_NOT_NULL(options) RS_NOT_NULL(username);

// The password to authenticate with at the sentinels: `len` bytes. The one in the URL is for the servers alone.
// Default: none.
rs_status rs_options_set_sentinel_password(rs_options *options,
                                           const char *password,
                                           size_t len,
                                           rs_error **err)
    RS_NOT_NULL(options);

// Be told of connections made, lost and refused, and of what changes about the servers (RS_EVENT_), in clients opened
// with these options. Messages never hold a password, a key, an argument or a script. Default: nobody is told.
//
// `log`: NULL for nobody. `context`: handed to `log` each time, on any thread. `context_free`: called with it, once,
// when neither these options nor a client of theirs needs it any more; may be NULL. On failure it is called before
// this returns.
rs_status rs_options_set_log(rs_options *options,
                             rs_log_fn log,
                             void *context,
                             rs_free_fn context_free,
                             rs_error **err)
    RS_NOT_NULL(options);

// Submits many calls at once, from one buffer without pointers. All of them are accepted, or with an error none;
// what is wrong with a single call is its completion. Calls to the same server travel in one write.
//
// `calls`: `len` bytes, one call behind the other; copied. Numbers are in the machine's byte order and not aligned;
// a string is a u32 length and its bytes:
//
//   call     u64 tag, u32 timeout in milliseconds (0: the client's), then an item, or
//            u8 RS_PACKED_ROUTED, u8 0, i32 read_from, i32 route, u32 route_slot, route_to as a string, each as in
//            rs_call_options, and behind them a command, script or pipeline as item
//   item     with RS_PACKED_TOKEN in the flags of a script or pipeline, the token as a string stands behind them
//            u8 RS_PACKED_COMMAND, u8 flags, u32 count, strings
//            u8 RS_PACKED_SCRIPT, u8 flags, u32 index into scripts, u32 numkeys, u32 numargs,
//            keys and args as strings
//            u8 RS_PACKED_PIPELINE, u8 flags, u32 count, so many commands and scripts as items
//            u8 RS_PACKED_SCRIPT_LOAD, u8 0, u32 index into scripts; the reply is the status OK
//            u8 RS_PACKED_SCRIPT_EXISTS, u8 0, u32 count, SHA1s as strings; the reply is an array of booleans
//            u8 RS_PACKED_SCRIPT_FLUSH, u8 one of the RS_FLUSH_ numbers; the reply is the status OK
//            u8 RS_PACKED_SCRIPT_KILL, u8 0; the reply is the status OK
//            u8 RS_PACKED_SCRIPT_SHOW, u8 0, SHA1 as a string; the reply is the source, a string, or nil
//            u8 RS_PACKED_KILL, u8 0; the reply is that of rs_client_kill
//            u8 RS_PACKED_SCRIPT_STATS, u8 0; the reply is that of rs_client_script_stats
//            u8 RS_PACKED_REAUTHENTICATE, u8 0; the reply is nil
//            u8 RS_PACKED_LIBRARY_LOAD, _CHECK or _DEPLOY, library; the reply is that of
//            rs_client_library_load, _check or _deploy
//            u8 RS_PACKED_LIBRARY_LIST, u8 0; the reply is that of rs_client_library_list
//            u8 RS_PACKED_LIBRARY_PRUNE, u8 0, u32 count, so many libraries;
//            the reply is that of rs_client_library_prune
//   library  u8 flags of RS_LIBRARY_, with RS_LIBRARY_ONCE once, the source as a string
//   once     as in rs_library_options, the prefix empty for the default: u64 token_lifetime_ms, u64 reply_limit,
//            u32 wait_replicas, u32 wait_timeout_ms, token_prefix as a string
//
// `scripts`: `numscripts` scripts; they may be freed afterwards. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT
// for a buffer of another form (also for flags that are not known, and for anything but 0 where 0 is demanded),
// RS_ERR_QUEUE_FULL, RS_ERR_CLOSED, RS_ERR_FORKED, RS_ERR_NO_MEMORY, RS_ERR_RESOURCES. Threads: any.
RS_NODISCARD
rs_status rs_client_submit_packed(rs_client *client,
                                  size_t numscripts,
                                  const rs_script *const *scripts,
                                  const char *calls,
                                  size_t len,
                                  rs_queue *queue,
                                  rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(queue);

// Has rs_queue_poll_packed pack errors with what ended the call, the item and the server: see there. Off in a new
// queue, so a program that does not ask for them reads what it always read.
//
// `queue`: NULL does nothing. Errors: none. Threads: any; for what is taken out from then on.
void rs_queue_set_packed_details(rs_queue *queue,
                                 bool details);

// Takes completions out of a queue as bytes, one behind the other, as many as fit; waits for the first one.
//
// `buffer`: `capacity` bytes; each is written once, and what is behind `*used` bytes afterwards is undefined. `max`:
// completions at most. `timeout_ms`: as with rs_queue_poll. `*used`: bytes written. `*count`: completions taken.
// `*needed`: what the next completion takes where it is left because it did not fit, else 0; so with 0, and fewer
// than `max`, the queue was empty. All three are 0 on failure, and each may be NULL. Numbers are in the machine's
// byte order and not aligned; a string is a u32 length and its bytes:
//
//   completion  u32 size of what follows, u64 tag, i32 status, u8 flags; then with RS_OK a reply, else error;
//               behind that, with RS_PACKED_ARRIVED, a reply; behind all, with RS_PACKED_COST, cost
//   cost        what rs_options_set_call_costs has asked for, as in rs_call_event: u32 attempts, u64 bytes sent,
//               u64 bytes received, u64 nanoseconds, and as a string the server that the call was sent to last,
//               empty where it was sent to none
//   error       the server's first word and the message as strings; where rs_queue_set_packed_details has asked
//               for them, behind these an i32 of RS_REASON_, an i32 index of the item or -1, and the server as a
//               string, empty where none is known
//   reply       u8 kind, one of RS_REPLY_, and what it holds:
//               nil nothing, integer an i64, boolean a u8, status, string, double and big number a string,
//               verbatim three bytes of format and a string,
//               array, map and set a u32 number of elements and these as replies,
//               error an i32 status, u8 flags, error
//
// For a long reply, call once with any buffer to learn its size from `*needed`, and again with a buffer of that
// size: no other memory is needed for it.
//
// `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
rs_status rs_queue_poll_packed(rs_queue *queue,
                               char *buffer,
                               size_t capacity,
                               size_t max,
                               uint64_t timeout_ms,
                               size_t *used,
                               size_t *count,
                               size_t *needed,
                               rs_error **err)
    RS_NOT_NULL(queue);

// Makes an empty pipeline. No input or output takes place.
//
// `flags`: RS_PIPELINE_ flags or 0. `*pipeline`: caller frees with rs_pipeline_free; NULL on failure; `pipeline` not
// NULL. `err` may be NULL.
//
// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
//
// Redis: <https://redis.io/docs/latest/develop/using-commands/pipelining/>,
// <https://redis.io/docs/latest/develop/using-commands/transactions/>
RS_NODISCARD
rs_status rs_pipeline_new(rs_client *client,
                          uint32_t flags,
                          rs_pipeline **pipeline,
                          rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(pipeline);

// Appends a command; see rs_client_command for the arguments, which are copied. No input or output takes place.
//
// `options`: NULL or flags alone; copied. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT; RS_ERR_COMMAND_REFUSED
// for what would change the shared connection or keep the items behind it waiting; in a cluster RS_ERR_CROSS_SLOT,
// also for an item of a transaction with keys in another slot, and RS_ERR_NO_ROUTE; RS_ERR_NO_MEMORY. The pipeline
// stays as it was then.
RS_NODISCARD
rs_status rs_pipeline_command(rs_pipeline *pipeline,
                              size_t argc,
                              const char *const *argv,
                              const size_t *argvlen,
                              const rs_call_options *options,
                              rs_error **err)
    RS_NOT_NULL(pipeline) RS_NOT_NULL(argv);

// Appends a call of a script; see rs_script_call for the arguments, which are copied. The script need not be loaded
// and may be freed at once. No input or output takes place.
//
// `options`: NULL, or flags and a token alone; copied. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
// RS_ERR_NOT_READ_ONLY, in a cluster RS_ERR_CROSS_SLOT as with rs_pipeline_command, RS_ERR_NO_MEMORY. The pipeline
// stays as it was then.
RS_NODISCARD
rs_status rs_pipeline_script(rs_pipeline *pipeline,
                             const rs_script *script,
                             size_t numkeys,
                             const char *const *keys,
                             const size_t *keylens,
                             size_t numargs,
                             const char *const *args,
                             const size_t *arglens,
                             const rs_call_options *options,
                             rs_error **err)
    RS_NOT_NULL(pipeline) RS_NOT_NULL(script);

// The number of items in a pipeline.
//
// NULL: 0. Errors: none.
size_t rs_pipeline_len(const rs_pipeline *pipeline);

// Takes all items out of a pipeline.
//
// NULL: does nothing. Errors: none.
void rs_pipeline_clear(rs_pipeline *pipeline);

// Sends the items in one write, with a SCRIPT LOAD for each script that the server lacks, and waits for their
// replies; a pipeline above 256 KiB goes in parts, with room for other calls in between, a transaction never does.
// The pipeline is empty afterwards, whatever came of it, and can be filled again. Only where the options are
// RS_ERR_INVALID_ARGUMENT does it keep its items.
//
// `options`: NULL for the client's; copied. `token` is one for all items: each gets a token that is made of it and
// the item's number, unless it has one of its own. Each item then has to be read-only, idempotent or a call of an
// RS_SCRIPT_ONCE, and at least one has to be of the last kind. RS_CALL_IDEMPOTENT holds for every item.
// RS_CALL_READ_ONLY changes how a script is sent: it is refused here, and given to the items. `route` is for items
// without keys. In a cluster, a command whose keys this library does not know can be appended only to a pipeline of
// a client that has a route: rs_client_with.
//
// `*replies`: an array with one element an item, in order; caller frees with rs_reply_free. An item's error is its
// element: see rs_reply_error. Without items nothing is sent, and the array is empty. On RS_ERR_INDETERMINATE and
// RS_ERR_REPLY_LIMIT it holds the replies of the first items, as far as they arrived, or is NULL; of a transaction,
// and on any other failure, it is NULL. `replies` may be NULL when they are of no interest. `err` may be NULL.
//
// Items that met NOSCRIPT, because someone flushed the scripts at the wrong moment, are sent again behind the
// others, in their order and each with its script. One is left alone, with RS_ERR_NOSCRIPT and not executed, if an
// item behind it that was executed has a key in common with it, or if one of the two names no keys and is not known
// to touch none, as PING. What was executed is never sent again.
//
// Errors: any of RS_ERR_. For a transaction RS_ERR_TRANSACTION_ABORTED and RS_ERR_COMPILE say that nothing of it ran.
// Beyond what a server provably did not run, nothing is sent again once bytes of it were sent, unless every item may
// run twice: RS_CALL_READ_ONLY, RS_CALL_IDEMPOTENT, RS_SCRIPT_IDEMPOTENT, RS_SCRIPT_ONCE.
rs_status rs_pipeline_exec(rs_pipeline *pipeline,
                           const rs_call_options *options,
                           rs_reply **replies,
                           rs_error **err)
    RS_NOT_NULL(pipeline);

// Frees a pipeline. What is in it is not sent. If nothing else keeps its client open, that is closed, and waited for,
// as by rs_client_free.
//
// NULL: does nothing. Errors: none.
void rs_pipeline_free(rs_pipeline *pipeline);

// Makes a queue.
//
// `capacity`: above 0; calls that may be under way or wait to be taken out. `*queue`: caller frees with
// rs_queue_free; NULL on failure; `queue` not NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
// RS_ERR_RESOURCES when the system has no descriptors left. Threads: any.
//
// `flags`: 0; or RS_QUEUE_NO_THREAD, for programs with an event loop of their own:
//
// - No thread is started for the calls of this queue. What such a thread would do (read replies, send what a socket
//   did not take, connect, mind deadlines, follow redirects) is done by rs_queue_poll, rs_queue_dispatch and
//   rs_queue_poll_packed, on the thread that calls them, for all clients that have submitted to the queue. With
//   `timeout_ms` 0 they never wait: they do what there is to do and take out what is complete. With another they
//   wait for the first completion and go on with the work meanwhile.
// - rs_queue_fd is readable whenever there is something to do: bytes have come, a socket takes bytes again, a
//   deadline has passed, a connection is made, or completions wait. It is an epoll instance on Linux and Android,
//   and a kqueue on other systems, with the sockets and the next deadline in it; add it to a loop's poll, epoll or
//   kqueue like any descriptor, level-triggered, and do not read from it. When it is readable call one of the
//   functions above with `timeout_ms` 0, until fewer completions come than were asked for. There need not be any: a
//   turn may have only sent or received a part. libuv takes it with uv_poll_init, libevent with event_new and
//   EV_READ | EV_PERSIST; what takes sockets only, as Node's net.Socket, cannot use it.
// - As long as nobody polls nothing goes on: no reply is read, and no deadline ends a call. rs_queue_len stays what
//   it was.
// - Looking up a host name has a thread of its own, for as long as it lasts, because the system knows no other way.
// - A blocking call that waits on a client of the queue may do this work in passing; so the descriptor may be found
//   readable for nothing.
// - A client that has submitted to a queue of the other kind as well has its thread, and that does the work for both.
//
// Everything else is as with other queues.
RS_NODISCARD
rs_status rs_queue_new(size_t capacity,
                       uint32_t flags,
                       rs_queue **queue,
                       rs_error **err)
    RS_NOT_NULL(queue);

// Frees a queue and the completions in it. Calls under way go on, and their completions are dropped. Those of a queue
// with RS_QUEUE_NO_THREAD go on only when others do that work: one that was not sent yet may be sent much later, with
// a blocking call of its client, or not at all.
//
// NULL: does nothing. Errors: none. Threads: not while another thread uses it; rs_queue_close has those come back
// that wait in it.
void rs_queue_free(rs_queue *queue);

// A descriptor that is readable while the queue holds completions, for poll, epoll, kqueue and every event loop: one
// end of a socket pair; that of a queue with RS_QUEUE_NO_THREAD is of another kind, and readable for more, see there.
// Do not write to it and do not close it. Reading from it is harmless: an event loop that reads what is there may do
// so. It turns readable when the queue stops being empty; so take out until fewer come than were asked for. Also
// after rs_queue_wake, up to the next poll; and for good, at its end, after rs_queue_close: take it out of the loop
// then.
//
// Returns: borrowed until rs_queue_free. NULL: -1. Errors: none. Threads: any.
int rs_queue_fd(const rs_queue *queue);

// Wakes the threads that wait in rs_queue_poll, rs_queue_dispatch or rs_queue_poll_packed: all of them return at once
// with what there is, RS_OK and a count that may be 0. The next of these calls that begins, on whichever thread, does
// not wait either, so that a thread that is just about to wait does not miss it; up to then the descriptor is
// readable. Wake-ups that nobody has seen yet count as one.
//
// So such a call may come back early with nothing: whoever is woken looks at what it was woken for, and polls again.
// To stop threads use rs_queue_close, which all see, however many they are.
//
// NULL, and a child of fork: does nothing. Errors: none. Threads: any; not from a signal handler.
void rs_queue_wake(rs_queue *queue);

// Ends a queue for good. From now on nothing is accepted: submitting to it fails with RS_ERR_CLOSED, and nothing is
// sent. Every rs_queue_poll, rs_queue_dispatch and rs_queue_poll_packed returns at once with what there is, RS_OK and
// a count that may be 0, those that wait now as well. The descriptor stays readable.
//
// Calls under way go on, and their completions come as ever and can be taken out. To wait for them, poll until
// rs_queue_len is 0 before the queue is closed. A thread learns from rs_queue_is_closed that it is to go; when
// all have gone the queue can be freed.
//
// NULL, a queue that is closed, and a child of fork: does nothing. Errors: none. Threads: any; not from a signal
// handler.
void rs_queue_close(rs_queue *queue);

// Whether rs_queue_close was called.
//
// NULL, and a child of fork: false. Errors: none. Threads: any.
bool rs_queue_is_closed(const rs_queue *queue);

// How many calls are under way or wait to be taken out.
//
// NULL: 0. Errors: none. Threads: any.
size_t rs_queue_len(const rs_queue *queue);

// Takes completions out of a queue, in the order in which they came, and waits for the first one.
//
// `completions`: `max` places; what is in them is the caller's to free. `timeout_ms`: 0 does not wait, RS_FOREVER
// waits as long as it takes, but not beyond rs_queue_wake and rs_queue_close. `*count`: how many were taken; 0 on
// failure and when the time was over; `count` may be NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
// RS_ERR_FORKED. Threads: any.
rs_status rs_queue_poll(rs_queue *queue,
                        rs_completion *completions,
                        size_t max,
                        uint64_t timeout_ms,
                        size_t *count,
                        rs_error **err)
    RS_NOT_NULL(queue);

// The same with a callback in place of an array: it is called for each completion, on the thread that calls this
// function and before it returns. It may submit, cancel, close and free whatever it likes, except the queue.
//
// `completed`: not NULL. `context`: handed to it each time. The other parameters: as with rs_queue_poll.
rs_status rs_queue_dispatch(rs_queue *queue,
                            size_t max,
                            uint64_t timeout_ms,
                            rs_completion_fn completed,
                            void *context,
                            size_t *count,
                            rs_error **err)
    RS_NOT_NULL(queue) RS_NOT_NULL(completed);

// Calls a script without waiting: the reply will be in `queue`, under `tag`. The lists, `client` and `options` are as
// with rs_script_call; all copied.
//
// Errors, and then the call was not accepted and has no completion: RS_ERR_QUEUE_FULL, RS_ERR_CLOSED where the client
// or the queue is closed, RS_ERR_FORKED, RS_ERR_NO_MEMORY, RS_ERR_RESOURCES, and what is wrong with the arguments. The
// completion's status is any of RS_ERR_. `err` may be NULL. Threads: any.
RS_NODISCARD
rs_status rs_script_submit(const rs_script *script,
                           rs_client *client,
                           size_t numkeys,
                           const char *const *keys,
                           const size_t *keylens,
                           size_t numargs,
                           const char *const *args,
                           const size_t *arglens,
                           const rs_call_options *options,
                           rs_queue *queue,
                           uint64_t tag,
                           rs_error **err)
    RS_NOT_NULL(script) RS_NOT_NULL(queue);

// Sends a command without waiting; see rs_client_command and rs_script_submit.
RS_NODISCARD
rs_status rs_client_submit(rs_client *client,
                           size_t argc,
                           const char *const *argv,
                           const size_t *argvlen,
                           const rs_call_options *options,
                           rs_queue *queue,
                           uint64_t tag,
                           rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(argv) RS_NOT_NULL(queue);

// Executes a pipeline without waiting; see rs_pipeline_exec, also for `options`, and rs_script_submit. Once it is
// accepted the pipeline is empty and can be filled again; with an error it has its items still. An empty one is
// RS_ERR_INVALID_ARGUMENT.
RS_NODISCARD
rs_status rs_pipeline_submit(rs_pipeline *pipeline,
                             const rs_call_options *options,
                             rs_queue *queue,
                             uint64_t tag,
                             rs_error **err)
    RS_NOT_NULL(pipeline) RS_NOT_NULL(queue);

// Ends the calls under way in a queue that this client has submitted with this tag. Each is completed at once: with
// RS_ERR_CANCELLED where nothing was sent, with RS_ERR_INDETERMINATE where the server may have executed it or may
// yet do so. What waits on the server, as BLPOP does, is given up there too: its connection is closed.
//
// `*count`, which may be NULL: how many there were; 0 where all had ended already. `err` may be NULL. Errors:
// RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
rs_status rs_client_cancel(rs_client *client,
                           rs_queue *queue,
                           uint64_t tag,
                           size_t *count,
                           rs_error **err)
    RS_NOT_NULL(client) RS_NOT_NULL(queue);

// What a reply is: one of the RS_REPLY_ numbers; RS_REPLY_NONE for NULL.
int32_t rs_reply_type(const rs_reply *reply);

// The number of elements of an array, set or map (keys and values both count), the number of bytes of anything that
// is a string; 0 for all else and for NULL.
size_t rs_reply_len(const rs_reply *reply);

// The bytes of a string, status, error, double, big number or verbatim text; any byte may be among them. A NUL follows
// them that `len` does not count. `len` may be NULL.
//
// Returns: borrowed until the root is freed. NULL, or any other type: NULL, and `*len` is 0.
const char *rs_reply_string(const rs_reply *reply,
                            size_t *len);

// The value of an integer, or of a boolean as 1 or 0; 0 for all else and for NULL.
int64_t rs_reply_integer(const rs_reply *reply);

// The value of a double, or of an integer as a double; 0 for all else and for NULL.
double rs_reply_double(const rs_reply *reply);

// The three letters of a verbatim text's format, such as `txt`, ending in a NUL.
//
// Returns: borrowed until the root is freed. NULL, or any other type: NULL.
const char *rs_reply_verbatim_format(const rs_reply *reply);

// An element of an array, set or map; in a map the keys are the even elements, each followed by its value.
//
// Returns: borrowed until the root is freed; never pass it to rs_reply_free. NULL, any other type, or an index
// beyond the end: NULL.
const rs_reply *rs_reply_element(const rs_reply *reply,
                                 size_t index);

// The bytes of many elements of an array, set or map at once: what rs_reply_string gives for each of them, for the
// element `first` and those behind it. Of an element that is no string the pointer is NULL and the length 0.
//
// `strings`, `lengths`: places for `count` of each; only those of elements that are there are written. Returns: how
// many are there, at most `count`; 0 for NULL, any other type, a `first` beyond the end, and where `strings` or
// `lengths` is NULL. The strings are borrowed until the root is freed; a NUL follows each that its length does not
// count.
size_t rs_reply_strings(const rs_reply *reply,
                        size_t first,
                        size_t count,
                        const char **strings,
                        size_t *lengths);

// Reads an error reply as an error: its status, its message with the item's index and command where it is a
// pipeline's element, and whether it is certain that the item was not executed.
//
// `*err`: caller frees with rs_error_free; NULL where the reply is no error; `err` may be NULL. Returns: RS_OK where
// the reply is no error or NULL.
rs_status rs_reply_error(const rs_reply *reply,
                         rs_error **err);

// Frees a reply with all its elements. With an element it does nothing.
//
// NULL: does nothing. Errors: none.
void rs_reply_free(rs_reply *reply);

// Makes a script of exactly these bytes. No input or output takes place; whether it compiles shows at the first call.
//
// `client`: the one that calls use which name none; may be NULL; it is not kept open by the script. `lua`: `len`
// bytes, any; copied; may be NULL when `len` is 0. `options`: may be NULL; copied. `*script`: caller frees with
// rs_script_free; NULL on failure; `script` not NULL. `err` may be NULL.
//
// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_NO_MEMORY. Threads: any.
RS_NODISCARD
rs_status rs_script_register(rs_client *client,
                             const char *lua,
                             size_t len,
                             const rs_script_options *options,
                             rs_script **script,
                             rs_error **err)
    RS_NOT_NULL(script);

// The SHA1 of the script: 40 lower-case hexadecimal digits and a NUL.
//
// Returns: borrowed until rs_script_free. NULL: an empty string. Errors: none. Threads: any.
const char *rs_script_sha(const rs_script *script);

// What the options called the script when it was registered, ending in a NUL.
//
// Returns: borrowed until rs_script_free. NULL, and a script without a name: an empty string. Errors: none. Threads:
// any.
const char *rs_script_name(const rs_script *script);

// Calls a script and waits for its reply. It is loaded if need be, in the same write.
//
// `client`: NULL for the one that the script was registered with. `keys` (KEYS in Lua) and `args` (ARGV): `numkeys`
// and `numargs` strings; `keylens`, `arglens`: their lengths, or NULL when each ends in a NUL; all copied. `options`:
// NULL for the client's; copied. `*reply`: caller frees with rs_reply_free; NULL on failure; `reply` may be NULL when
// it is of no interest. `err` may be NULL.
//
// Errors: any of RS_ERR_. A call is sent again only when the server provably did not run it; when its reply is lost
// the status is RS_ERR_INDETERMINATE, unless the script is RS_SCRIPT_IDEMPOTENT or RS_SCRIPT_ONCE, or the flags allow
// it. Threads: any.
//
// Redis: <https://redis.io/docs/latest/commands/evalsha/>
rs_status rs_script_call(const rs_script *script,
                         rs_client *client,
                         size_t numkeys,
                         const char *const *keys,
                         const size_t *keylens,
                         size_t numargs,
                         const char *const *args,
                         const size_t *arglens,
                         const rs_call_options *options,
                         rs_reply **reply,
                         rs_error **err)
    RS_NOT_NULL(script);

// Frees a script. Calls in flight on other threads go on undisturbed, and so do other scripts of the same source.
//
// NULL: does nothing. Errors: none. Threads: not while another thread enters a function with this handle.
void rs_script_free(rs_script *script);

// Writes the figures of a client since it was opened, over all its connections, to `values`: the first `count` of
// them, in the order of the RS_STAT_ numbers; places beyond what the library knows become 0.
//
// Returns: the number of figures that the library knows. NULL: 0, and zeros are written. In a child of fork() zeros
// are written for its parent's client. A `count` above 2147483647 can be no array's, and nothing is written. Errors:
// none. Threads: any.
size_t rs_client_stats(const rs_client *client,
                       uint64_t *values,
                       size_t count);

// The version of the library that is loaded, such as `1.2.3`. Compare with RS_VERSION of the header.
//
// Returns: a string that lives as long as the library. Errors: none. Threads: any.
const char *rs_version(void);

// The same as a number: major * 1000000 + minor * 1000 + patch. Compare with RS_VERSION_NUMBER of the header.
//
// Errors: none. Threads: any.
uint32_t rs_version_number(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#ifdef __clang__
#pragma clang diagnostic pop
#endif

// The layouts that programs and library agree upon. There is no padding in them, but behind `reason` of an rs_event
// on 64 bits.
#if defined(__cplusplus) && __cplusplus >= 201103L
#define RS_SCRIPT_ASSERT(condition) static_assert(condition, #condition)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define RS_SCRIPT_ASSERT(condition) _Static_assert(condition, #condition)
#endif
#ifdef RS_SCRIPT_ASSERT
RS_SCRIPT_ASSERT(sizeof(rs_call_options) == 32 + 4 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_options, size) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, flags) == 4);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, timeout_ms) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, read_from) == 16);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, route) == 20);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, route_to) == 24);
RS_SCRIPT_ASSERT(offsetof(rs_call_options, route_len) == 24 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_options, route_slot) == 24 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_options, reserved) == 28 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_options, token) == 32 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_options, token_len) == 32 + 3 * sizeof(void *));
RS_SCRIPT_ASSERT(sizeof(rs_script_options) == 24 + 6 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, size) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_script_options, flags) == 4);
RS_SCRIPT_ASSERT(offsetof(rs_script_options, name) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_script_options, name_len) == 8 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, token_lifetime_ms) == 8 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, wait_timeout_ms) == 16 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, reply_limit) == 24 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, token_prefix) == 24 + 3 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, token_prefix_len) == 24 + 4 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_script_options, wait_replicas) == 24 + 5 * sizeof(void *));
RS_SCRIPT_ASSERT(sizeof(rs_library_options) == 24 + 4 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_library_options, size) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_library_options, flags) == 4);
RS_SCRIPT_ASSERT(offsetof(rs_library_options, token_lifetime_ms) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_library_options, wait_timeout_ms) == 16);
RS_SCRIPT_ASSERT(offsetof(rs_library_options, reply_limit) == 24);
RS_SCRIPT_ASSERT(offsetof(rs_library_options, token_prefix) == 24 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_library_options, token_prefix_len) == 24 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_library_options, wait_replicas) == 24 + 3 * sizeof(void *));
RS_SCRIPT_ASSERT(sizeof(rs_call_event) == 40 + 8 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, size) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, kind) == 4);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, status) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, reason) == 12);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, bytes_sent) == 16);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, bytes_received) == 24);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, duration_ns) == 32);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, attempts) == 40);
RS_SCRIPT_ASSERT(offsetof(rs_call_event, items) == 40 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, name) == 40 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, name_len) == 40 + 3 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, sha) == 40 + 4 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, sha_len) == 40 + 5 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, node) == 40 + 6 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_call_event, node_len) == 40 + 7 * sizeof(void *));
RS_SCRIPT_ASSERT(sizeof(rs_completion) == 16 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_completion, tag) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_completion, reply) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_completion, error) == 8 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_completion, status) == 8 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_completion, reserved) == 12 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(sizeof(rs_event) == 16 + 5 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_event, size) == 0);
RS_SCRIPT_ASSERT(offsetof(rs_event, kind) == 4);
RS_SCRIPT_ASSERT(offsetof(rs_event, level) == 8);
RS_SCRIPT_ASSERT(offsetof(rs_event, status) == 12);
RS_SCRIPT_ASSERT(offsetof(rs_event, reason) == 16);
RS_SCRIPT_ASSERT(offsetof(rs_event, node) == 16 + sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_event, node_len) == 16 + 2 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_event, message) == 16 + 3 * sizeof(void *));
RS_SCRIPT_ASSERT(offsetof(rs_event, message_len) == 16 + 4 * sizeof(void *));
#undef RS_SCRIPT_ASSERT
#endif

#endif  /* RS_SCRIPT_H */
