package trop_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"trop"
)

func Example() {
	first, err := trop.Reserve(trop.Tag("web"))
	if err != nil {
		log.Fatal(err)
	}
	again, err := trop.Reserve(trop.Tag("web"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Port == first.Port)

	released, err := trop.Release(trop.Tag("web"))
	fmt.Println(released, err)
	// Output:
	// true
	// 1 <nil>
}

func ExampleOpen() {
	directory, err := os.MkdirTemp("", "trop-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(directory)

	registry, err := trop.Open(trop.DataDir(directory), trop.Ports(20000, 29999), trop.BusyTimeout(0))
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()

	reservation, err := registry.Reserve(trop.Path("/srv/shop"), trop.Tag("api"))
	fmt.Println(reservation.Path, reservation.Tag, reservation.Created, err)
	// Output: /srv/shop api true <nil>
}

func ExampleError() {
	_, err := trop.Reserve(trop.Port(70000))
	fmt.Println(errors.Is(err, trop.ErrInvalidArgument))

	var failure *trop.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Name, failure.Argument)
	}
	// Output:
	// true
	// TROP_INVALID_ARGUMENT port
}
