package trop

/*
#include <trop.h>

static trop_lease_options lease_defaults(void) { return (trop_lease_options)TROP_LEASE_OPTIONS_INIT; }
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Lease is a port that belongs to this process until the lease or its registry is closed or the process
// ends in any way. Any number of goroutines may use it at once, and a copy is the same lease.
//
// One that becomes unreachable before it is closed goes on, with a line in the log of package log; of more
// than 256 of those in a process the oldest end. For a number alone there is [Registry.FreePort]. Where a
// lease is printed, it is its port.
type Lease struct {
	handle *leaseHandle
}

// A leaseHandle is what all copies of a Lease share. The garbage collector frees it when no copy is left.
type leaseHandle struct {
	c *C.trop_lease_handle
	// See handle.
	_ *byte
}

var leaseDefaults = C.lease_defaults()

// maxCount is more than the ports of any range.
const maxCount = 65536

// Lease leases a port: the preferred one if it is usable, else the lowest usable one of the range that has
// rested: no number that was given up comes again while there is another one. Two leases never have the same
// port, whoever asks. If no port of the range is usable, the range is cleaned up first,
// as far as the configuration allows.
//
// It fails with ErrInvalidArgument, ErrExhausted, ErrBusy, ErrConfig, ErrUnsupported where ports cannot be
// held or files cannot be locked, ErrClosed or a database error. After a failure the registry is unchanged.
func (r *Registry) Lease(options ...LeaseOption) (*Lease, error) {
	leases, err := r.LeaseMany(1, options...)
	if err != nil {
		return nil, err
	}
	return leases[0], nil
}

// LeaseMany leases several ports, all or none. They come in ascending order, except that a preferred port
// which is among them comes first.
//
// It fails as [Registry.Lease], with ErrInvalidArgument also for a count that is not 1 to the size of the
// range, and with [Contiguous] also with ErrExhausted when enough ports are usable, but no neighbours.
func (r *Registry) LeaseMany(count int, options ...LeaseOption) ([]*Lease, error) {
	request := newRequest(options, LeaseOption.forLease)
	defer request.free()
	if count < 0 || uint64(count) > math.MaxUint32 {
		reason := fmt.Sprintf("%d is not possible: it must be 1 to the size of the range", count)
		request.refuse("count", reason)
	}
	if request.err != nil {
		return nil, request.err
	}
	c := leaseOptions(request)
	// At least one element, because the library wants an address. It refuses a count above maxCount without
	// writing anything, so there need not be room for more.
	handles := make([]*C.trop_lease_handle, min(max(count, 1), maxCount))
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_lease_many(registry, C.uint32_t(count), &c, &handles[0], failure)
	})
	if err != nil {
		return nil, err
	}
	leases := make([]*Lease, count)
	for i := range leases {
		handle := &leaseHandle{c: handles[i]}
		runtime.SetFinalizer(handle, (*leaseHandle).forget)
		leases[i] = &Lease{handle}
	}
	return leases, nil
}

// FreePort returns the number of a port that nobody else gets until the process ends or the registry is
// closed. It is chosen as that of [Registry.Lease]. Only [Registry.ReleasePort] gives it back before.
//
// It fails as [Registry.Lease].
func (r *Registry) FreePort(options ...LeaseOption) (int, error) {
	request := newRequest(options, LeaseOption.forLease)
	defer request.free()
	if request.err != nil {
		return 0, request.err
	}
	c := leaseOptions(request)
	var port C.uint16_t
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_port(registry, &c, &port, failure)
	})
	return int(port), err
}

// leaseOptions returns what the options of a lease say. Its text is pinned until the request is freed.
func leaseOptions(request *request) C.trop_lease_options {
	c := leaseDefaults
	c.flags = request.flags
	c.label = request.pinned(request.label)
	c.port, c.min, c.max = request.preferred, request.min, request.max
	return c
}

// Leases returns the leases of all processes, ordered by port, with those that have ended but were not yet
// removed.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) Leases() ([]LeaseInfo, error) {
	return r.leases(func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_leases(registry, text, failure)
	})
}

// OwnLeases returns the leases that this registry has in this process, ordered by port.
//
// It fails as [Registry.Leases].
func (r *Registry) OwnLeases() ([]LeaseInfo, error) {
	return r.leases(func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_own_leases(registry, text, failure)
	})
}

func (r *Registry) leases(
	call func(*C.trop_registry, **C.char, **C.trop_error) C.int32_t,
) ([]LeaseInfo, error) {
	var found []jsonLease
	if err := r.read(&found, call); err != nil {
		return nil, err
	}
	list := make([]LeaseInfo, len(found))
	for i, row := range found {
		list[i] = row.result()
	}
	return list, nil
}

// Explain reports why a port is not available: who has it in the registry and in the operating system, since
// when, and what to do about it.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) Explain(port int) (Explanation, error) {
	var request request
	number := request.port("port", port)
	if request.err != nil {
		return Explanation{}, request.err
	}
	var found jsonExplanation
	err := r.read(&found, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_explain(registry, number, text, failure)
	})
	if err != nil {
		return Explanation{}, err
	}
	return found.result(), nil
}

// A TestingT is what LeaseT needs of a test; every testing.TB is one.
type TestingT interface {
	Helper()
	Name() string
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// LeaseT is [Registry.Lease] for a test or benchmark: the lease ends with the test and has the test's name as
// its label, unless the options give another one. A test that gets no port fails at once.
func (r *Registry) LeaseT(t TestingT, options ...LeaseOption) *Lease {
	t.Helper()
	return leaseT(t, r.Lease, options)
}

func leaseT(t TestingT, take func(...LeaseOption) (*Lease, error), options []LeaseOption) *Lease {
	t.Helper()
	name := t.Name()
	if len(name) > maxLabel {
		name = strings.ToValidUTF8(name[:maxLabel], "")
	}
	lease, err := take(append([]LeaseOption{Label(name)}, options...)...)
	if err != nil {
		t.Fatalf("no port for %s: %v", t.Name(), err)
		return nil
	}
	t.Cleanup(func() { _ = lease.Close() })
	return lease
}

// maxLabel is the length of the longest label, in bytes.
const maxLabel = 255

// Port returns the port number, also after the lease has ended.
func (l *Lease) Port() int {
	h := l.handleOrNull()
	defer runtime.KeepAlive(h)
	return int(C.trop_lease_port(h.c))
}

// String returns the digits of the port.
func (l Lease) String() string {
	return strconv.Itoa(l.Port())
}

// Format prints the port, as a number for the verbs of numbers, such as %d, else as its digits.
func (l Lease) Format(state fmt.State, verb rune) {
	format := fmt.FormatString(state, verb)
	switch verb {
	case 'v', 's', 'q':
		fmt.Fprintf(state, strings.ReplaceAll(format, "#", ""), l.String())
	default:
		fmt.Fprintf(state, format, l.Port())
	}
}

// MarshalJSON returns an object with the port and the label, which is null for none.
func (l Lease) MarshalJSON() ([]byte, error) {
	value := struct {
		Port  int     `json:"port"`
		Label *string `json:"label"`
	}{Port: l.Port()}
	if label := l.Label(); label != "" {
		value.Label = &label
	}
	return json.Marshal(value)
}

// Label returns the label of the lease; empty for none.
func (l *Lease) Label() string {
	h := l.handleOrNull()
	defer runtime.KeepAlive(h)
	return C.GoString(C.trop_lease_label(h.c))
}

// IsOpen reports whether the lease is open: neither it nor its registry was closed.
func (l *Lease) IsOpen() bool {
	h := l.handleOrNull()
	defer runtime.KeepAlive(h)
	return C.trop_lease_is_open(h.c) != 0
}

// Close ends the lease, so that its port can be given out again. Closing twice is no error. Listeners on the
// port stay open.
//
// It never waits, and it never fails: the error, always nil, is there for [io.Closer]. If the database is
// busy, whoever needs the port next takes it.
func (l *Lease) Close() error {
	h := l.handleOrNull()
	C.trop_lease_close(h.c)
	runtime.KeepAlive(h)
	return nil
}

// Listen listens on the leased TCP port, so that there is no gap between the choice of the port and its use.
// The host is an address or a name of this host; an empty one means "127.0.0.1". The caller closes the
// listener. Listener and lease are independent: closing one does not close the other.
//
// It fails with ErrInvalidArgument for a host that is unknown, ErrClosed when the lease has ended, or ErrIO.
func (l *Lease) Listen(host string) (net.Listener, error) {
	file, err := l.socket(host, func(
		lease *C.trop_lease_handle, host *C.char, socket *C.int64_t, failure **C.trop_error,
	) C.int32_t {
		return C.trop_lease_listen(lease, host, notGiven, socket, failure)
	})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	return listener, systemError(err)
}

// ListenPacket binds the leased UDP port; all else is as with [Lease.Listen].
func (l *Lease) ListenPacket(host string) (net.PacketConn, error) {
	file, err := l.socket(host, func(
		lease *C.trop_lease_handle, host *C.char, socket *C.int64_t, failure **C.trop_error,
	) C.int32_t {
		return C.trop_lease_bind(lease, C.TROP_PROTOCOL_UDP, host, socket, failure)
	})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	return conn, systemError(err)
}

// WaitListening waits until something accepts TCP connections on the loopback address of the leased port and,
// as far as the operating system tells, belongs to this process or to one that it started, directly or
// through others. A timeout of 0 checks once. The call occupies an operating system thread while it waits.
//
// It fails with ErrInvalidArgument, ErrClosed when the lease has ended, or ErrNotListening: at once when
// somebody else listens there, else when the time is over.
func (l *Lease) WaitListening(timeout time.Duration) error {
	var request request
	wait := request.milliseconds("timeout", timeout)
	if request.err != nil {
		return request.err
	}
	return l.call(func(lease *C.trop_lease_handle, failure **C.trop_error) C.int32_t {
		return C.trop_lease_wait_listening(lease, wait, failure)
	})
}

// call calls the library with the lease, which stays alive until the call returns.
func (l *Lease) call(call func(*C.trop_lease_handle, **C.trop_error) C.int32_t) error {
	var failure *C.trop_error
	h := l.handleOrNull()
	status := call(h.c, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return newError(status, failure)
	}
	return nil
}

// socket makes a call that returns a socket. Package net duplicates the socket, so the caller has to close
// the file.
func (l *Lease) socket(
	host string, call func(*C.trop_lease_handle, *C.char, *C.int64_t, **C.trop_error) C.int32_t,
) (*os.File, error) {
	var request request
	defer request.free()
	var address *C.char
	if host != "" {
		address = request.text("host", host)
	}
	if request.err != nil {
		return nil, request.err
	}
	var socket C.int64_t
	err := l.call(func(lease *C.trop_lease_handle, failure **C.trop_error) C.int32_t {
		return call(lease, address, &socket, failure)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(socket), "socket"), nil
}

// systemError turns an error of package net into one of this package.
func systemError(err error) error {
	if err == nil {
		return nil
	}
	var number syscall.Errno
	errors.As(err, &number)
	return &Error{Code: ErrIO, Name: ErrIO.Error(), Message: err.Error(), Errno: number}
}

// handleOrNull returns the handle of a lease. For one that a Registry did not make it returns a handle with
// NULL inside, which the library refuses with an error.
func (l *Lease) handleOrNull() *leaseHandle {
	if l == nil || l.handle == nil {
		return &leaseHandle{}
	}
	return l.handle
}

// forget frees the memory of a lease that is unreachable, but does not end it, because programs keep numbers.
func (h *leaseHandle) forget() {
	port := C.trop_lease_port(h.c)
	if C.trop_lease_forget(h.c) != 0 {
		log.Printf("trop: the lease of port %d was not closed: "+
			"it lasts until the process ends or its registry is closed", port)
	}
}
