module github.com/rs-script/rs_script/benches/go

go 1.23.0

// The newest peers that Go 1.23 builds, which is what scripts/setup asks for.
require (
	github.com/redis/go-redis/v9 v9.18.0
	github.com/redis/rueidis v1.0.69
	github.com/rs-script/rs_script/bindings/go v0.1.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.31.0 // indirect
)

replace github.com/rs-script/rs_script/bindings/go => ../../bindings/go
