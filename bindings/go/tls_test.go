// TLS: which certificates a client believes, and which it shows.

package rsscript_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// authority signs certificates. Two of them don't trust each other.
type authority struct {
	dir    string
	file   string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: newKey(t), serial: 1}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rs_script test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.file = a.write(t, "ca.crt", "CERTIFICATE", a.sign(t, a.cert, a.key))
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	bytes, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func (a *authority) write(t testing.TB, name, kind string, bytes []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pair is the files of a certificate and of its key.
type pair struct{ cert, key string }

// issue makes a certificate for an address or a host name, valid for so long from now.
func (a *authority) issue(t testing.TB, name, host string, valid time.Duration) pair {
	t.Helper()
	a.serial++
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: "rs_script test"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		cert.IPAddresses = []net.IP{ip}
	} else {
		cert.DNSNames = []string{host}
	}
	key := newKey(t)
	bytes, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		a.write(t, name+".crt", "CERTIFICATE", a.sign(t, cert, key)),
		a.write(t, name+".key", "EC PRIVATE KEY", bytes),
	}
}

// tlsOptions are those of a server with this certificate, which is also its own as a client of other servers.
func (a *authority) tlsOptions(port string, shown pair) []string {
	return []string{"--port", "0", "--tls-port", port, "--tls-ca-cert-file", a.file, "--tls-cert-file", shown.cert,
		"--tls-key-file", shown.key, "--tls-auth-clients", "no", "--tls-replication", "yes"}
}

// tlsServer starts one with this certificate.
func tlsServer(t testing.TB, authority *authority, shown pair, options ...string) *server {
	t.Helper()
	server, err := onFreePort(func(port, dir string) (*server, error) {
		// It is asked through its socket whether it is there: for that the certificates don't matter.
		socket := filepath.Join(dir, "s")
		arguments := append([]string{"--unixsocket", socket, "--bind", "127.0.0.1"}, authority.tlsOptions(port, shown)...)
		return runServer(&server{url: "rediss://127.0.0.1:" + port, network: "unix", address: socket, dir: dir},
			"redis-server", append(arguments, options...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	return server
}

// checkRefused checks that a client does not open for reasons of TLS, and gives the error.
func checkRefused(t testing.TB, url string, options ...rsscript.Option) *rsscript.Error {
	t.Helper()
	_, err := rsscript.Open(ctx, url, options...)
	own := checkError(t, err, rsscript.ErrTLS)
	if !own.NotExecuted || own.Indeterminate {
		t.Fatalf("%+v", own)
	}
	return own
}

func checkWorks(t testing.TB, url string, options ...rsscript.Option) {
	t.Helper()
	client := open(t, url, options...)
	check(t, "over TLS")(client.Script("return ARGV[1]").Call(ctx, nil, "over TLS").Text())
	long := strings.Repeat("x", 1<<20)
	check(t, long)(client.Script("return ARGV[1]").Call(ctx, nil, long).Text())
}

func TestTLSTrustsTheGivenAuthorityAndNoOther(t *testing.T) {
	ours := newAuthority(t)
	server := tlsServer(t, ours, ours.issue(t, "server", "127.0.0.1", time.Hour), "--requirepass", "secret")
	password := rsscript.WithPassword("secret")
	checkWorks(t, server.url, password, rsscript.WithTLSCAFile(ours.file))
	checkWorks(t, server.url, password, rsscript.WithTLSInsecureSkipVerify())
	for name, err := range map[string]*rsscript.Error{
		"the system's authorities": checkRefused(t, server.url, password),
		"another authority":        checkRefused(t, server.url, password, rsscript.WithTLSCAFile(newAuthority(t).file)),
	} {
		if !strings.Contains(err.Message, "certificate") || strings.Contains(err.Message, "secret") {
			t.Fatal(name, err)
		}
	}
}

func TestTLSNamesAndDatesAreChecked(t *testing.T) {
	ours := newAuthority(t)
	trusted := rsscript.WithTLSCAFile(ours.file)
	elsewhere := tlsServer(t, ours, ours.issue(t, "elsewhere", "elsewhere.example", time.Hour))
	checkRefused(t, elsewhere.url, trusted)
	checkRefused(t, elsewhere.url, trusted, rsscript.WithTLSServerName("nowhere.example"))
	checkWorks(t, elsewhere.url, trusted, rsscript.WithTLSServerName("elsewhere.example"))
	expired := tlsServer(t, ours, ours.issue(t, "expired", "127.0.0.1", -time.Hour))
	checkRefused(t, expired.url, trusted)
}

func TestTLSClientCertificate(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	server := tlsServer(t, ours, ours.issue(t, "server", "127.0.0.1", time.Hour), "--tls-auth-clients", "yes")
	trusted := rsscript.WithTLSCAFile(ours.file)
	client, stranger := ours.issue(t, "client", "client", time.Hour), theirs.issue(t, "client", "client", time.Hour)
	checkWorks(t, server.url, trusted, rsscript.WithTLSClientCert(client.cert, client.key))
	// A server that wants another certificate says so after the handshake, or hangs up.
	for _, options := range [][]rsscript.Option{
		{trusted}, {trusted, rsscript.WithTLSClientCert(stranger.cert, stranger.key)},
	} {
		_, err := rsscript.Open(ctx, server.url, options...)
		var own *rsscript.Error
		if !errors.As(err, &own) || !own.NotExecuted || own.Status != rsscript.ErrTLS && own.Status != rsscript.ErrConnect {
			t.Fatal(err)
		}
	}
}

func TestTLSFromMemory(t *testing.T) {
	ours := newAuthority(t)
	server := tlsServer(t, ours, ours.issue(t, "server", "127.0.0.1", time.Hour), "--tls-auth-clients", "yes")
	files := ours.issue(t, "client", "client", time.Hour)
	read := func(path string) []byte {
		bytes, err := os.ReadFile(path)
		noError(t, err)
		return bytes
	}
	ca, cert, key := read(ours.file), read(files.cert), read(files.key)
	shown := rsscript.WithTLSClientCertPEM(cert, key)
	checkWorks(t, server.url, rsscript.WithTLSCAPEM(ca), shown)
	checkRefused(t, server.url, rsscript.WithTLSCAPEM(read(newAuthority(t).file)), shown)
	for name, options := range map[string][]rsscript.Option{
		"no authority":   {rsscript.WithTLSCAPEM(nil)},
		"a key as one":   {rsscript.WithTLSCAPEM(key)},
		"no certificate": {rsscript.WithTLSCAPEM(ca), rsscript.WithTLSClientCertPEM(nil, key)},
		"no key":         {rsscript.WithTLSCAPEM(ca), rsscript.WithTLSClientCertPEM(cert, nil)},
		"somebody's else": {
			rsscript.WithTLSCAPEM(ca),
			rsscript.WithTLSClientCertPEM(cert, read(ours.issue(t, "other", "other", time.Hour).key)),
		},
	} {
		_, err := rsscript.Open(ctx, server.url, options...)
		if err == nil {
			t.Fatal(name)
		}
		if own := checkError(t, err, rsscript.ErrInvalidOption); strings.Contains(own.Message, "BEGIN") {
			t.Fatal(name, own)
		}
	}
}

func TestTLSOptionsThatCannotBeUsed(t *testing.T) {
	ours := newAuthority(t)
	client, other := ours.issue(t, "client", "client", time.Hour), ours.issue(t, "other", "other", time.Hour)
	empty := filepath.Join(ours.dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]rsscript.Option{
		"no such authority":       rsscript.WithTLSCAFile(filepath.Join(ours.dir, "nobody")),
		"an empty file":           rsscript.WithTLSCAFile(empty),
		"no such certificate":     rsscript.WithTLSClientCert(filepath.Join(ours.dir, "nobody"), client.key),
		"the key of someone else": rsscript.WithTLSClientCert(client.cert, other.key),
	} {
		_, err := rsscript.Open(ctx, "rediss://127.0.0.1:1", option)
		if err == nil {
			t.Fatal(name)
		}
		checkError(t, err, rsscript.ErrInvalidOption)
	}
	_, err := rsscript.Open(ctx, url, rsscript.WithTLSCAFile(ours.file))
	checkError(t, err, rsscript.ErrInvalidOption)
}

func TestTLSWithWhoDoesNotSpeakIt(t *testing.T) {
	ours := newAuthority(t)
	plain, err := startServerOnPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.stop)
	// It waits for the end of a line that is none.
	_, err = rsscript.Open(ctx, "rediss://"+plain.address,
		rsscript.WithTLSCAFile(ours.file), rsscript.WithConnectTimeout(time.Second))
	if err := checkError(t, err, rsscript.ErrConnect); !err.NotExecuted || !strings.Contains(err.Message, "TLS") {
		t.Fatal(err)
	}
	server := tlsServer(t, ours, ours.issue(t, "server", "127.0.0.1", time.Hour))
	_, err = rsscript.Open(ctx, strings.Replace(server.url, "rediss", "redis", 1))
	if err := checkError(t, err, rsscript.ErrConnect); !err.NotExecuted {
		t.Fatal(err)
	}
}
