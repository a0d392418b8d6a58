package main

import (
	"testing"

	"trop"
)

// Each test has a port of its own, however many run at once, in whatever language.
func TestServer(t *testing.T) {
	for _, name := range []string{"one", "another"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lease := trop.LeaseT(t)
			listener, err := lease.Listen("")
			if err != nil {
				t.Fatal(err)
			}
			if greeting, err := serveOnce(listener); err != nil || string(greeting) != "Go web server" {
				t.Errorf("%q on port %d, %v", greeting, lease.Port(), err)
			}
		})
	}
}
