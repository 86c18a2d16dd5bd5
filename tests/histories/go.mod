module github.com/rs-script/rs_script/tests/histories

go 1.23.0

require (
	// Decides whether a history is linearizable. It needs nothing else.
	github.com/anishathalye/porcupine v1.3.1
	github.com/rs-script/rs_script/bindings/go v0.1.0
)

replace github.com/rs-script/rs_script/bindings/go => ../../bindings/go
