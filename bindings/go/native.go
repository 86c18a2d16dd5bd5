// What the native library is asked for directly: its version, its errors, its strings.

//go:build cgo

package rsscript

/*
#include <rs_script.h>
#include <stdlib.h>

// The text may hold a password.
static void rsscript_free_overwritten(char *text, size_t length) {
	for (volatile char *at = text; length > 0; length--) *at++ = 0;
	free(text);
}

#if !defined(RS_VERSION_NUMBER)
#error "this rs_script.h has no RS_VERSION_NUMBER: it is not that of rs_script 0.1"
#else
// 0.x: a minor version may change anything.
_Static_assert(RS_VERSION_NUMBER / 1000 == 1,
               "this Go package is for rs_script 0.1, and the rs_script.h found is that of " RS_VERSION);
#endif
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// headerVersion is the version of the rs_script.h that this package was compiled with.
const headerVersion = uint32(C.RS_VERSION_NUMBER)

// Version is that of the native library, such as "0.1.0".
func Version() string {
	return C.GoString(C.rs_version())
}

// checkVersion tells whether a library can be used with the header that this package was compiled with.
func checkVersion(library uint32) *Error {
	if library/1000 == headerVersion/1000 && library >= headerVersion {
		return nil
	}
	return refused(ErrNotSupported, fmt.Sprintf(
		"the rs_script library found at run time is version %s, and this program was built with the header of %s: "+
			"the same major and minor version, and none older, is needed",
		versionText(library), versionText(headerVersion)))
}

func versionText(number uint32) string {
	return fmt.Sprintf("%d.%d.%d", number/1_000_000, number/1000%1000, number%1000)
}

// takeError makes an error of the library's, and frees that.
func takeError(native *C.rs_error) *Error {
	defer C.rs_error_free(native)
	err := &Error{
		Status:        Status(C.rs_error_status(native)),
		Message:       C.GoString(C.rs_error_message(native)),
		ServerCode:    C.GoString(C.rs_error_server_code(native)),
		Indeterminate: bool(C.rs_error_is_indeterminate(native)),
		NotExecuted:   bool(C.rs_error_is_not_executed(native)),
		Reason:        Reason(C.rs_error_reason(native)),
		Index:         int(C.rs_error_index(native)),
		Node:          C.GoString(C.rs_error_node(native)),
	}
	return err.inGo()
}

// withCString calls f with a copy of text that ends in a NUL; text must hold none itself. The copy is overwritten
// afterwards.
func withCString(what, text string, f func(*C.char) *Error) *Error {
	for i := range len(text) {
		if text[i] == 0 {
			return refused(ErrInvalidArgument, what+" holds a NUL; nothing was sent")
		}
	}
	native := C.CString(text)
	defer C.rsscript_free_overwritten(native, C.size_t(len(text)))
	return f(native)
}

// pointerTo is where the bytes of text are, for C to read during a call.
func pointerTo(text string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(text)))
}

func pointerToBytes(bytes []byte) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(bytes)))
}

func reasonName(reason Reason) string {
	return C.GoString(C.rs_reason_name(C.int32_t(reason)))
}

func statusName(status Status) string {
	return C.GoString(C.rs_status_name(C.rs_status(status)))
}
