// What a client is opened with.

//go:build cgo

package rsscript

/*
#include <stdint.h>
#include <rs_script.h>
#include <stdlib.h>

void rsscriptHear(uintptr_t handle, int32_t level, char *message, size_t length);
void rsscriptForget(uintptr_t handle);

// A handle is a number: Go must not see it as a pointer.
static void rsscript_hear(void *context, const rs_event *event) {
	rsscriptHear((uintptr_t)context, event->level, (char *)event->message, event->message_len);
}
static void rsscript_forget(void *context) { rsscriptForget((uintptr_t)context); }
static rs_status rsscript_set_log(rs_options *options, uintptr_t handle, rs_error **err) {
	return rs_options_set_log(options, rsscript_hear, (void *)handle, rsscript_forget, err);
}
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/cgo"
	"time"
)

// Option is something that [Open] is told.
type Option func(*settings) *Error

type settings struct {
	native      *C.rs_options
	maxInFlight int
	failsFull   bool
	events      *eventLog
	login       *login
	hooks       []Hook
	// How long connecting may take, which is how long credentials are waited for.
	connectTimeout time.Duration
	// How long a call may take whose context has no deadline.
	callTimeout time.Duration
}

// These are the library's.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultCallTimeout    = 10 * time.Second
)

// defaultMaxInFlight bounds what calls may take in memory, far above what a server answers in a moment.
const defaultMaxInFlight = 1 << 16

func newSettings(ctx context.Context, options []Option) (*settings, error) {
	s := &settings{
		native: C.rs_options_new(), maxInFlight: defaultMaxInFlight,
		connectTimeout: defaultConnectTimeout, callTimeout: defaultCallTimeout,
	}
	if deadline, ok := ctx.Deadline(); ok {
		// Short of the default only.
		if left := time.Until(deadline); left < defaultConnectTimeout {
			options = append([]Option{WithConnectTimeout(max(left, time.Millisecond))}, options...)
		}
	}
	for _, option := range options {
		if err := option(s); err != nil {
			s.free()
			return nil, err
		}
	}
	s.login.start(s.connectTimeout)
	if len(s.hooks) > 0 {
		err := s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status { return C.rs_options_set_call_costs(o, true, err) })
		if err != nil {
			s.free()
			return nil, err
		}
	}
	return s, nil
}

func (s *settings) free() { C.rs_options_free(s.native) }

func (s *settings) set(f func(*C.rs_options, **C.rs_error) C.rs_status) *Error {
	var native *C.rs_error
	if f(s.native, &native) != C.RS_OK {
		return takeError(native)
	}
	return nil
}

func (s *settings) setText(what, text string, f func(*C.rs_options, *C.char, **C.rs_error) C.rs_status) *Error {
	return withCString(what, text, func(text *C.char) *Error {
		return s.set(func(options *C.rs_options, err **C.rs_error) C.rs_status { return f(options, text, err) })
	})
}

// milliseconds rounds up, so that what is above 0 stays so; what is not becomes 0, which the library refuses where it
// has to.
func milliseconds(d time.Duration) C.uint64_t {
	whole := d / time.Millisecond
	if d%time.Millisecond > 0 {
		whole++
	}
	return C.uint64_t(max(0, whole))
}

// WithConnectTimeout is how long one attempt to connect may take: name look-up, TCP, TLS and handshake together.
// Default: 5 s, or what is left up to the deadline of Open's context.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(s *settings) *Error {
		s.connectTimeout = timeout
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_connect_timeout_ms(o, milliseconds(timeout), err)
		})
	}
}

// WithCallTimeout is how long a call may take whose context has no deadline, all its attempts together, and the wait
// for its turn; see [WithMaxInFlight]. Default: 10 s.
func WithCallTimeout(timeout time.Duration) Option {
	return func(s *settings) *Error {
		s.callTimeout = timeout
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_call_timeout_ms(o, milliseconds(timeout), err)
		})
	}
}

// WithSilenceTimeout is when a connection is taken for dead that nobody has ended: once a call has missed its
// deadline on it (or its context's), and calls were waiting on it for so long without a single byte coming. New
// calls take a new connection from then on; those that wait on the old one go on waiting until their own deadlines.
// It wins over the URL's silence_timeout_ms. Default: 500 ms.
func WithSilenceTimeout(timeout time.Duration) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_silence_timeout_ms(o, milliseconds(timeout), err)
		})
	}
}

// WithUsername is the ACL user; it wins over the URL's and needs a password.
func WithUsername(name string) Option {
	return func(s *settings) *Error {
		return s.setText("the user name", name, func(o *C.rs_options, name *C.char, err **C.rs_error) C.rs_status {
			return C.rs_options_set_username(o, name, err)
		})
	}
}

// WithPassword is the password; it wins over the URL's.
func WithPassword(password string) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_password(o, pointerTo(password), C.size_t(len(password)), err)
		})
	}
}

// WithClientName is the name in CLIENT LIST; printable ASCII without spaces.
func WithClientName(name string) Option {
	return func(s *settings) *Error {
		return s.setText("the client name", name, func(o *C.rs_options, name *C.char, err **C.rs_error) C.rs_status {
			return C.rs_options_set_client_name(o, name, err)
		})
	}
}

// Protocol is the version of RESP that a client speaks.
type Protocol int32

const (
	// ProtocolAuto is RESP3, and RESP2 with a server that does not know it. This is the default.
	ProtocolAuto Protocol = 0
	// RESP2 is what every server knows; it has no maps, doubles or booleans.
	RESP2 Protocol = 2
	// RESP3 and nothing else.
	RESP3 Protocol = 3
)

// WithProtocol is the version of RESP to speak.
func WithProtocol(protocol Protocol) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_protocol(o, C.int32_t(protocol), err)
		})
	}
}

// WithTLSCAFile is a PEM file of the authorities to trust instead of the system's. Like the other files of TLS it is
// read by Open, and again for each connection: one that has been replaced counts from the next connection on.
func WithTLSCAFile(path string) Option {
	return func(s *settings) *Error {
		return s.setText("the path", path, func(o *C.rs_options, path *C.char, err **C.rs_error) C.rs_status {
			return C.rs_options_set_tls_ca_file(o, path, err)
		})
	}
}

// WithTLSClientCert is PEM files of the client certificate, its chain included, and of its key.
func WithTLSClientCert(certPath, keyPath string) Option {
	return func(s *settings) *Error {
		return withCString("the certificate's path", certPath, func(cert *C.char) *Error {
			return withCString("the key's path", keyPath, func(key *C.char) *Error {
				return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
					return C.rs_options_set_tls_client_cert(o, cert, key, err)
				})
			})
		})
	}
}

// WithTLSCAPEM is the authorities to trust instead of the system's, in PEM form, in place of [WithTLSCAFile].
func WithTLSCAPEM(pem []byte) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_tls_ca_pem(o, pointerToBytes(pem), C.size_t(len(pem)), err)
		})
	}
}

// WithTLSClientCertPEM is the client certificate, its chain included, and its key (PKCS#8, PKCS#1 or SEC1, not
// encrypted), in PEM form, in place of [WithTLSClientCert].
func WithTLSClientCertPEM(cert, key []byte) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_tls_client_cert_pem(o, pointerToBytes(cert), C.size_t(len(cert)),
				pointerToBytes(key), C.size_t(len(key)), err)
		})
	}
}

// WithTLSServerName is the host name or address that the server's certificate must hold, instead of the URL's host.
func WithTLSServerName(name string) Option {
	return func(s *settings) *Error {
		return s.setText("the server name", name, func(o *C.rs_options, name *C.char, err **C.rs_error) C.rs_status {
			return C.rs_options_set_tls_server_name(o, name, err)
		})
	}
}

// WithTLSInsecureSkipVerify accepts any certificate. Anybody on the network path can read and change everything then.
func WithTLSInsecureSkipVerify() Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_tls_insecure_skip_verify(o, true, err)
		})
	}
}

// WithKeepAlive is TCP keep-alive: the first probe after so much silence, in whole seconds; 0: none. Default: 60 s.
func WithKeepAlive(silence time.Duration) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_keepalive_ms(o, milliseconds(silence), err)
		})
	}
}

// WithReconnectBackoff is the pause before the second attempt to connect, and the longest pause. Default: 20 ms and 1
// s.
func WithReconnectBackoff(shortest, longest time.Duration) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_reconnect_backoff_ms(o, milliseconds(shortest), milliseconds(longest), err)
		})
	}
}

// WithReconnectAttempts is after how many failed attempts to connect a call gives up; 0: not before its deadline. Open
// tries each server once. Default: 5.
func WithReconnectAttempts(attempts uint32) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_reconnect_attempts(o, C.size_t(attempts), err)
		})
	}
}

// WithMaxReplyBytes is the longest reply, in bytes on the wire; over it the connection is closed and the call ends
// with [ErrReplyLimit]. At least 65536; default 513 MiB.
func WithMaxReplyBytes(bytes uint64) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_max_reply_bytes(o, C.size_t(bytes), err)
		})
	}
}

// WithMaxReplyDepth is how deep arrays, maps and sets of a reply may be nested; over it the same happens. 8 to 1024;
// default 128.
func WithMaxReplyDepth(depth uint) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_max_reply_depth(o, C.size_t(depth), err)
		})
	}
}

// WithLazyConnect has Open not connect; the first call does.
func WithLazyConnect() Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_lazy_connect(o, true, err)
		})
	}
}

// WithoutClientInfo has no connection tell the server by CLIENT SETINFO which library this is: where the user lacks
// the right, each leaves an entry in ACL LOG.
func WithoutClientInfo() Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_client_info(o, false, err)
		})
	}
}

// WithoutTransactionProbe has no connection run an empty transaction with its login, to see whether this user may run
// any: where the user lacks the right, each leaves an entry in ACL LOG. The first transaction on each connection
// costs a round trip more instead.
func WithoutTransactionProbe() Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_probe_transactions(o, false, err)
		})
	}
}

// WithMaxWaiting is how many commands may wait on servers at a time (BLPOP, ...), a connection each; more stand in
// line. Default: 1000.
func WithMaxWaiting(count int) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_max_waiting(o, C.size_t(max(count, 0)), err)
		})
	}
}

// WithSharedConnections is how many connections to each server calls share, 1 to 64: what takes long on one holds up
// no calls on the others. Calls with a key in common keep their order. Default: 1.
func WithSharedConnections(count int) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_shared_connections(o, C.size_t(max(count, 0)), err)
		})
	}
}

// WithReadFrom says which servers run read-only calls; everything else runs on primaries. Default: [Primary]. See
// also [Client.WithReadFrom].
func WithReadFrom(from ReadFrom) Option {
	return func(s *settings) *Error {
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_read_from(o, C.int32_t(from), err)
		})
	}
}

// WithMapAddress connects to reachable wherever the servers themselves speak of announced, each host:port: for
// servers behind a NAT, a tunnel or a container's network.
func WithMapAddress(announced, reachable string) Option {
	return func(s *settings) *Error {
		return withCString("the address", announced, func(announced *C.char) *Error {
			return withCString("the address", reachable, func(reachable *C.char) *Error {
				return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
					return C.rs_options_map_address(o, announced, reachable, err)
				})
			})
		})
	}
}

// WithSentinelAuth is the user and password for the sentinels; an empty user is the default one. Those of the URL are
// for the servers alone.
func WithSentinelAuth(username, password string) Option {
	return func(s *settings) *Error {
		if username != "" {
			err := s.setText("the user name", username, func(o *C.rs_options, name *C.char, err **C.rs_error) C.rs_status {
				return C.rs_options_set_sentinel_username(o, name, err)
			})
			if err != nil {
				return err
			}
		}
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			return C.rs_options_set_sentinel_password(o, pointerTo(password), C.size_t(len(password)), err)
		})
	}
}

// WithMaxInFlight is how many calls may be in flight at once. One more waits for its turn, within its deadline and as
// long as its context lets it; see [WithFailWhenFull]. 1 to 16777215; default 65536.
func WithMaxInFlight(calls int) Option {
	return func(s *settings) *Error {
		if calls < 1 || calls >= 1<<placeBits {
			return refused(ErrInvalidOption, fmt.Sprintf("the limit of %d calls in flight is not within 1 to %d",
				calls, 1<<placeBits-1))
		}
		s.maxInFlight = calls
		return nil
	}
}

// WithFailWhenFull has a call end with [ErrQueueFull] at once where it would have to wait because of [WithMaxInFlight].
func WithFailWhenFull() Option {
	return func(s *settings) *Error {
		s.failsFull = true
		return nil
	}
}

// WithLog tells logger of connections: those made and what changes about the servers at [slog.LevelInfo], those lost
// and logins that could not be renewed at [slog.LevelWarn], attempts that failed at [slog.LevelError]. Messages never
// hold a password, a key, an argument or a script. Default, and nil: nobody is told.
//
// The logger is called on a goroutine of its own, for one event at a time and in their order, with the time at which
// each came about. So it may block, and it may use the client and close it; calls do not wait for it. While it blocks
// some hundred events are kept and the rest are counted. A panic in its handler is swallowed together with the event.
// [Client.Close] does not wait for it either, and when the program ends events may still be on their way.
func WithLog(logger *slog.Logger) Option {
	return func(s *settings) *Error {
		s.events = nil
		if logger == nil {
			return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
				return C.rs_options_set_log(o, nil, nil, nil, err)
			})
		}
		s.events = &eventLog{logger: logger}
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			// Deleted by the library, on failure too.
			return C.rsscript_set_log(o, C.uintptr_t(cgo.NewHandle(s.events)), err)
		})
	}
}
