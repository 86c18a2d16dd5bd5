// What the compiler says where cgo is off: how to have it.

//go:build !cgo

package rsscript

var _ = rs_script_needs_cgo__install_a_C_compiler_and_set_CGO_ENABLED_1
