module github.com/rs-script/rs_script/bindings/go

go 1.23
