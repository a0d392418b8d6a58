// A web server on a port that belongs to this directory: reserves it, serves, asks itself once and gives it back.
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

	greeting, err := serveOnce(reservation.Port)
	if err != nil {
		return err
	}
	fmt.Printf("%s on port %d reserved in %.2f ms\n", greeting, reservation.Port, took.Seconds()*1000)

	if keep {
		return nil
	}
	_, err = trop.Release(trop.Tag("go-example"))
	return err
}

// serveOnce starts a web server on the port of 127.0.0.1 and gives its answer to one request.
func serveOnce(port int) ([]byte, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
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
