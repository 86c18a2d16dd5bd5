// User and password by a function of the program's: for tokens that expire, and passwords that are rotated.

//go:build cgo

package rsscript

/*
#include <stdint.h>
#include <rs_script.h>

void rsscriptAsk(uintptr_t handle, rs_credentials_request *request);
void rsscriptForget(uintptr_t handle);

// A handle is a number: Go must not see it as a pointer.
static void rsscript_ask(void *context, rs_credentials_request *request) { rsscriptAsk((uintptr_t)context, request); }
static void rsscript_forget_asked(void *context) { rsscriptForget((uintptr_t)context); }
static rs_status rsscript_set_credentials(rs_options *options, uintptr_t handle, rs_error **err) {
	return rs_options_set_credentials(options, rsscript_ask, (void *)handle, rsscript_forget_asked, err);
}
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/cgo"
	"sync"
	"time"
)

// Credentials is a user and a password, as the function of [WithCredentials] gives them. Printed or logged it shows
// no password.
type Credentials struct {
	// Username is the ACL user; empty for the user default.
	Username string
	// Password is the password, or a token in its place; any bytes.
	Password string `json:"-"`
	// Lifetime is how long they are good for from now on, such as time.Until(token.Expiry): open connections
	// ask again when three quarters of it are over. A second at the least; 0: for as long as a connection lives.
	Lifetime time.Duration
}

// Format prints it without the password.
func (c Credentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Credentials(%q, %v)", c.Username, c.Lifetime)
}

// LogValue logs it without the password.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// WithCredentials has ask called for user and password whenever a connection to a server is made, in place of a
// password that stays the same. Sentinels keep their own, see [WithSentinelAuth]. With a user or a password in the
// URL or in the options besides, Open ends with [ErrInvalidOption].
//
// Open connections log in again when their credentials are due ([Credentials].Lifetime), and with
// [Client.Reauthenticate]. AUTH goes between the calls of others then. Where it is refused, or there are no
// credentials, the connection stays in use, [WithLog] tells of it at [slog.LevelWarn], and it is tried again: after a
// second first, then more seldom, up to once a minute. With another user a connection is replaced by a new one.
//
// ask is given the server, host:port or a socket's path. It may block, up to the connect timeout
// ([WithConnectTimeout]), when its context ends; that ends with the client, too. It is called for several servers at
// once, but for one server not again before it has returned. An error, or a panic, is why there are no credentials:
// an attempt to connect fails with [ErrAuth] and its text, which must hold no secret. It may close the client, and
// must not make calls on it: those may wait for it.
func WithCredentials(ask func(ctx context.Context, node string) (Credentials, error)) Option {
	return func(s *settings) *Error {
		s.login = nil
		if ask == nil {
			return refused(ErrInvalidOption, "the function that is to give credentials is nil")
		}
		s.login = &login{ask: ask}
		return s.set(func(o *C.rs_options, err **C.rs_error) C.rs_status {
			// Deleted by the library, on failure too.
			return C.rsscript_set_credentials(o, C.uintptr_t(cgo.NewHandle(s.login)), err)
		})
	}
}

// Reauthenticate has the function of [WithCredentials] asked again, and every open connection log in with what
// it gives: for when a password has been rotated, or is about to be. It returns when all have.
//
// The error is [ErrAuth] where a server has refused the login or there was nothing to log in with; connections serve
// on then, and try again by themselves. It is [ErrInvalidArgument] where there is no such function.
func (c *Client) Reauthenticate(ctx context.Context) error {
	return c.administer(ctx, func(p *packed) *Error {
		p.head(packedReauthenticate, 0)
		return nil
	}).Err()
}

// login asks the program for credentials. The library asks on a thread of its own, which waits meanwhile; the
// function runs on a goroutine, which it may end.
type login struct {
	mu     sync.Mutex
	ask    func(context.Context, string) (Credentials, error)
	ctx    context.Context
	cancel context.CancelFunc
	// How long it may take.
	timeout time.Duration
}

// start is before anybody asks. Without a login it does nothing, like close.
func (l *login) start(timeout time.Duration) {
	if l == nil {
		return
	}
	l.timeout = timeout
	l.ctx, l.cancel = context.WithCancel(context.Background())
}

// close ends what is under way, and forgets the function: one that knows the client would keep it from being collected.
func (l *login) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ask = nil
	l.cancel()
}

//export rsscriptAsk
func rsscriptAsk(handle C.uintptr_t, request *C.rs_credentials_request) {
	l := cgo.Handle(handle).Value().(*login)
	over := make(chan struct{})
	go func() {
		defer close(over)
		l.answer(request)
	}()
	<-over
}

// answer gives the request back, whatever the function does.
func (l *login) answer(request *C.rs_credentials_request) {
	why := "the function that was to give credentials has panicked, or ended its goroutine"
	var given Credentials
	defer func() {
		if why != "" {
			_ = recover()
			refuse(request, why)
			return
		}
		give(request, given)
	}()
	var text string
	given, text = l.askFor(C.GoString(C.rs_credentials_node(request)))
	why = text
}

// askFor gives credentials, or why there are none.
func (l *login) askFor(node string) (Credentials, string) {
	l.mu.Lock()
	ask := l.ask
	l.mu.Unlock()
	if ask == nil {
		return Credentials{}, "the client is closed"
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	given, err := ask(ctx, node)
	if err != nil {
		return Credentials{}, "it said: " + err.Error()
	}
	return given, ""
}

func refuse(request *C.rs_credentials_request, why string) {
	// What is behind a NUL is no text.
	if err := withCString("", why, func(why *C.char) *Error {
		C.rs_credentials_refuse(request, why)
		return nil
	}); err != nil {
		C.rs_credentials_refuse(request, nil)
	}
}

// longestLifetime is what the library takes.
const longestLifetime = 365 * 24 * time.Hour

func give(request *C.rs_credentials_request, given Credentials) {
	lifetime := C.uint64_t(0)
	if given.Lifetime != 0 {
		// To the library 0 is for ever; what is over is over in a moment.
		lifetime = max(1, milliseconds(min(given.Lifetime, longestLifetime)))
	}
	answer := func(username *C.char) *Error {
		// What is wrong with them becomes the error of the connection.
		C.rs_credentials_answer(request, username, pointerTo(given.Password), C.size_t(len(given.Password)), lifetime, nil)
		return nil
	}
	if given.Username == "" {
		answer(nil)
	} else if withCString("the user name", given.Username, answer) != nil {
		refuse(request, "the user name holds a NUL")
	}
}
