// The library that this module carries, for Linux on amd64 and arm64. It is linked in: nothing has to be found at run
// time. With `-tags musl` it is that for musl (Alpine); with `-tags rs_script_installed` pkg-config finds one.

//go:build cgo && !rs_script_installed

package rsscript

/*
#cgo CFLAGS: -I${SRCDIR}/native/include
#cgo musl CFLAGS: -DRS_GO_MUSL
#cgo linux,amd64,!musl LDFLAGS: ${SRCDIR}/native/linux_amd64/librs_script.a
#cgo linux,arm64,!musl LDFLAGS: ${SRCDIR}/native/linux_arm64/librs_script.a
#cgo linux,amd64,musl LDFLAGS: ${SRCDIR}/native/linux_amd64_musl/librs_script.a
#cgo linux,arm64,musl LDFLAGS: ${SRCDIR}/native/linux_arm64_musl/librs_script.a
#cgo linux LDFLAGS: -lpthread -ldl -lm -lrt -lutil

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "this module has a library for Linux on amd64 and arm64; elsewhere: install one, -tags rs_script_installed"
#endif
#include <features.h>
#if !defined(__GLIBC__) && !defined(RS_GO_MUSL)
#error "this C compiler builds for musl: use -tags musl"
#endif
*/
import "C"

// `go mod vendor` copies the folders of packages that are imported.
import (
	_ "github.com/rs-script/rs_script/bindings/go/native/include"
	_ "github.com/rs-script/rs_script/bindings/go/native/linux_amd64"
	_ "github.com/rs-script/rs_script/bindings/go/native/linux_amd64_musl"
	_ "github.com/rs-script/rs_script/bindings/go/native/linux_arm64"
	_ "github.com/rs-script/rs_script/bindings/go/native/linux_arm64_musl"
)
