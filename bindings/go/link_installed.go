//go:build cgo && !rs_script_repository

// How an installed rs_script is found: pkg-config.

package rsscript

// #cgo pkg-config: rs_script
import "C"
