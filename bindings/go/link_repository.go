//go:build cgo && rs_script_repository

// How the library is found that `cargo build --release` has made in this repository: it is linked in, so nothing has
// to be found at run time.

package rsscript

// #cgo CFLAGS: -I${SRCDIR}/../../include
// #cgo linux LDFLAGS: ${SRCDIR}/../../target/release/librs_script.a -lutil -lrt -lpthread -lm -ldl -lc
// #cgo darwin LDFLAGS: ${SRCDIR}/../../target/release/librs_script.a -framework Security -framework CoreFoundation -liconv -lSystem -lc -lm
import "C"
