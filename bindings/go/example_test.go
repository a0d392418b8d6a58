package trop_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

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

	registry, err := trop.Open(trop.DataDir(directory), trop.Ports(30000, 31999), trop.BusyTimeout(0))
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

func ExampleReserveGroup() {
	directory, err := os.MkdirTemp("", "trop-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(directory)
	file := filepath.Join(directory, "trop.yaml")
	services := `
reservations:
  services:
    web: { offset: 0 }
    api: { offset: 1 }
`
	if err := os.WriteFile(file, []byte(services), 0o600); err != nil {
		log.Fatal(err)
	}

	ports, err := trop.ReserveGroup(trop.File(file))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ports), ports["api"]-ports["web"])

	released, err := trop.Release(trop.Path(directory))
	fmt.Println(released, err)
	// Output:
	// 2 1
	// 2 <nil>
}

func ExampleLeasePort() {
	lease, err := trop.LeasePort(trop.Label("example"))
	if err != nil {
		log.Fatal(err)
	}
	defer lease.Close()
	listener, err := lease.Listen("")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port == lease.Port(), lease.WaitListening(time.Second))
	// Output: true <nil>
}

func ExampleDryRun() {
	cleanup, err := trop.Autoclean(trop.Days(7), trop.DryRun())
	fmt.Println(len(cleanup.Pruned), "would go with their directory,", len(cleanup.Expired), "of age,", err)
	// Output: 0 would go with their directory, 0 of age, <nil>
}
