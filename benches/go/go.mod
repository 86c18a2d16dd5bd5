module github.com/rs-script/rs_script/benches/go

go 1.26.0

// The newest peers, for which Go 1.26 is needed; the binding itself needs less.
require (
	github.com/redis/go-redis/v9 v9.23.0
	github.com/redis/rueidis v1.0.79
	github.com/rs-script/rs_script/bindings/go v0.1.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/rs-script/rs_script/bindings/go => ../../bindings/go
