// A web server on a port that belongs to this directory: reserves it, serves, sends itself one request and
// gives it back. Then one on a port that is leased, which no other program gets while this one runs.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"trop"
)

func main() {
	keep := flag.Bool("keep", false, "keep the reservation, so that the next run gets the same port")
	flag.Parse()
	if err := run(*keep); err != nil {
		log.Fatal(err)
	}
}

func run(keep bool) error {
	start := time.Now()
	reservation, err := trop.Reserve(trop.Tag("go-example"))
	if err != nil {
		return err
	}
	took := time.Since(start)

	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", reservation.Port))
	if err != nil {
		return err
	}
	greeting, err := serveOnce(listener)
	if err != nil {
		return err
	}
	fmt.Printf("%s on port %d reserved in %.2f ms\n", greeting, reservation.Port, took.Seconds()*1000)
	if !keep {
		if _, err := trop.Release(trop.Tag("go-example")); err != nil {
			return err
		}
	}
	return serveOnALease()
}

// serveOnALease serves on a port that belongs to this program alone, until the lease is closed or the program
// ends in any way.
func serveOnALease() error {
	lease, err := trop.LeasePort(trop.Label("go-example"))
	if err != nil {
		return err
	}
	defer lease.Close()
	listener, err := lease.Listen("")
	if err != nil {
		return err
	}
	greeting, err := serveOnce(listener)
	if err != nil {
		return err
	}
	fmt.Printf("%s on port %d, which is leased\n", greeting, lease.Port())
	return nil
}

// serveOnce starts a web server and returns its answer to one request.
func serveOnce(listener net.Listener) ([]byte, error) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "Go web server")
	})}
	defer server.Close()
	go server.Serve(listener)

	response, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}
