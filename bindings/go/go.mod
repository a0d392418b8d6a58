module trop

go 1.23
