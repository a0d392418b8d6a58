module trop-bench

go 1.23

require trop v0.0.0

replace trop => ../../bindings/go
