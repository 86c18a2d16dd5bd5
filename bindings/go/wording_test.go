// Errors and documentation speak of this package's names, not of those in C.

package rsscript_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// A name of C's: of a constant, of a function, of a field or an option. UNIX sockets' paths are not among the messages.
var nameInC = regexp.MustCompile(`RS_[A-Z]|rs_[a-z]|[a-z]_[a-z]|options?[.:]`)

func TestErrorsSpeakOfGo(t *testing.T) {
	client := open(t, url)
	of := func(option rsscript.Option) error {
		_, err := rsscript.Open(ctx, url, option)
		return err
	}
	script := func(options ...rsscript.ScriptOption) error {
		return client.Script("return 1", options...).Call(ctx, nil).Err()
	}
	function := func(option rsscript.ScriptOption) error {
		return client.Library(functions).Function("count", option).Call(ctx, nil).Err()
	}
	routed := func(route rsscript.Route) error {
		return client.DoWith(ctx, rsscript.CallOptions{Route: route}, "PING").Err()
	}
	_, readFrom := client.With(77, rsscript.Route{})
	_, unordered := client.Transaction().RepairUnordered().Do("PING").Exec(ctx)
	_, trusting := client.Pipeline().TrustCache().Do("PING").Exec(ctx)
	_, slot := client.WithRouteSlot(20000)
	twice := client.Library(functions, rsscript.Once{}, rsscript.Named).Function("count").Call(ctx, nil).Err()
	for want, err := range map[string]error{
		"WithCallTimeout: ":                    of(rsscript.WithCallTimeout(0)),
		"WithSilenceTimeout: ":                 of(rsscript.WithSilenceTimeout(0)),
		"WithConnectTimeout: ":                 of(rsscript.WithConnectTimeout(-time.Second)),
		"WithProtocol: must be ProtocolAuto, ": of(rsscript.WithProtocol(4)),
		"WithReadFrom: must be Primary, ":      of(rsscript.WithReadFrom(9)),
		"WithMaxReplyDepth: ":                  of(rsscript.WithMaxReplyDepth(1)),
		"WithMaxReplyBytes: ":                  of(rsscript.WithMaxReplyBytes(1)),
		"WithMaxWaiting: ":                     of(rsscript.WithMaxWaiting(0)),
		"WithSharedConnections: ":              of(rsscript.WithSharedConnections(65)),
		"WithClientName: ":                     of(rsscript.WithClientName("a name")),
		"WithKeepAlive: ":                      of(rsscript.WithKeepAlive(1e6 * time.Second)),
		"WithMapAddress: ":                     of(rsscript.WithMapAddress("nowhere", "")),
		"WithReconnectBackoff: ":               of(rsscript.WithReconnectBackoff(time.Hour, time.Second)),
		"WithTLSCAFile: ":                      of(rsscript.WithTLSCAFile("a.pem")),
		"WithTLSCAPEM: ":                       of(rsscript.WithTLSCAPEM([]byte("x"))),
		"WithTLSClientCert: ":                  of(rsscript.WithTLSClientCert("a.pem", "b.pem")),
		"WithTLSClientCertPEM: ":               of(rsscript.WithTLSClientCertPEM([]byte("x"), []byte("y"))),
		"WithTLSServerName: ":                  of(rsscript.WithTLSServerName("a b")),
		"WithUsername: ":                       of(rsscript.WithUsername("x")),
		"the key's path holds a NUL":           of(rsscript.WithTLSClientCert("a", "\x00")),
		"the address holds a NUL":              of(rsscript.WithMapAddress("a:1", "\x00")),
		"one: Idempotent, Once":                script(rsscript.Once{}, rsscript.Idempotent),
		"WaitTimeout is set, and WaitReplicas": script(rsscript.Once{WaitTimeout: time.Second}),
		"Once: 1 to 1000 replicas":             script(rsscript.Once{WaitReplicas: 1 << 40}),
		"Once: a token's lifetime":             script(rsscript.Once{Lifetime: time.Nanosecond}),
		"Name: a script's name":                script(rsscript.Name("\n")),
		"the name is not UTF-8":                script(rsscript.Name("\xff")),
		"AsFunction, and it is a function":     function(rsscript.AsFunction),
		"as a whole, with Once":                function(rsscript.Once{}),
		"a library has one: Named, Once":       twice,
		"the slot is 20000: ":                  slot,
		"ReadFrom is none of Primary, ":        readFrom,
		"ReadFrom is none of Primary, Prefer":  client.DoWith(ctx, rsscript.CallOptions{ReadFrom: 77}, "PING").Err(),
		"RepairUnordered is not for a":         unordered,
		"TrustCache is for a transaction":      trusting,
		"the slot is 20000: slots":             routed(rsscript.RouteSlot(20000)),
		"(WithCredentials)":                    client.Reauthenticate(ctx),
		"use a transaction of this library's":  client.Do(ctx, "MULTI").Err(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || nameInC.MatchString(err.Error()) {
			t.Errorf("%q, not %q", err, want)
		}
	}
	for _, err := range []error{of(rsscript.WithProtocol(4)), of(rsscript.WithReadFrom(9))} {
		if !errors.Is(err, rsscript.ErrInvalidOption) {
			t.Errorf("%q is no invalid option", err)
		}
	}
}

// What a script says is no advice of ours.
func TestWordsOfScriptsStay(t *testing.T) {
	const words = "options.flags RS_SCRIPT_ONCE"
	err := open(t, url).Script("return redis.error_reply('MINE "+words+"')").Call(ctx, nil).Err()
	if err == nil || !strings.HasSuffix(err.Error(), words) {
		t.Fatal(err)
	}
}

func TestDocumentationSpeaksOfGo(t *testing.T) {
	// The names of statuses and reasons, which are what Error and String give.
	given := regexp.MustCompile(`is the name of the (status|reason) in C, such as RS_\w+`)
	files := token.NewFileSet()
	source := func(file fs.FileInfo) bool { return !strings.HasSuffix(file.Name(), "_test.go") }
	packages, err := parser.ParseDir(files, ".", source, parser.ParseComments) //nolint:staticcheck // no types are needed
	noError(t, err)
	seen := 0
	look := func(doc *ast.CommentGroup, name string) {
		if doc == nil || !ast.IsExported(name) {
			return
		}
		seen++
		text := given.ReplaceAllString(doc.Text(), "")
		if found := regexp.MustCompile(`RS_\w+|\brs_[a-z]+_\w+|rs_script\.h`).FindString(text); found != "" {
			t.Errorf("%s speaks of %s", name, found)
		}
	}
	for _, file := range packages["rsscript"].Files {
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				look(node.Doc, node.Name.Name)
			case *ast.GenDecl:
				for _, spec := range node.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						look(node.Doc, spec.Name.Name)
					case *ast.ValueSpec:
						look(node.Doc, spec.Names[0].Name)
						look(spec.Doc, spec.Names[0].Name)
					}
				}
			case *ast.Field:
				for _, name := range node.Names {
					look(node.Doc, name.Name)
				}
			}
			return true
		})
	}
	if seen < 150 {
		t.Fatal(seen)
	}
}
