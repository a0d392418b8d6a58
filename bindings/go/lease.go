package trop

/*
#include <trop.h>

static trop_lease_options lease_defaults(void) { return (trop_lease_options)TROP_LEASE_OPTIONS_INIT; }
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Lease is a port that belongs to this process until the lease or its registry is closed or the process ends in any
// way. Any number of goroutines may use it at once, and a copy is the same lease.
//
// One that becomes unreachable is ended by the garbage collector, and its port goes to others: keep the Lease, not only
// its number, for as long as the port is needed.
type Lease struct {
	handle *leaseHandle
}

// A leaseHandle is what all copies of a Lease share; as with a handle, it is freed only when nobody can use it.
type leaseHandle struct {
	c *C.trop_lease_handle
	// A registry that is collected ends its leases: it is kept as long as they are.
	registry *handle
}

var leaseDefaults = C.lease_defaults()

// maxCount is more leases than any range has ports.
const maxCount = 65536

// Lease leases a port: the preferred one if it is usable, else the lowest usable one of the range. Two leases never have
// the same port, whoever asks. A range without a usable port is cleaned up first, as far as the configuration allows.
//
// It fails with ErrInvalidArgument, ErrExhausted, ErrBusy, ErrConfig, ErrUnsupported where ports cannot be held or files
// not locked, ErrClosed or an error of the database; the registry is unchanged then.
func (r *Registry) Lease(options ...LeaseOption) (*Lease, error) {
	leases, err := r.LeaseMany(1, options...)
	if err != nil {
		return nil, err
	}
	return leases[0], nil
}

// LeaseMany leases several ports, all or none: in ascending order, unless the preferred one is among them, which comes
// first.
//
// It fails as [Registry.Lease], with ErrInvalidArgument also for a count that is not 1 to the size of the range, and
// with ErrExhausted also when there are ports enough but no neighbours, where those are asked for.
func (r *Registry) LeaseMany(count int, options ...LeaseOption) ([]*Lease, error) {
	request := newRequest(options, LeaseOption.forLease)
	defer request.free()
	if count < 0 || uint64(count) > math.MaxUint32 {
		request.refuse("count", fmt.Sprintf("%d is not possible: it must be 1 to the size of the range", count))
	}
	if request.err != nil {
		return nil, request.err
	}
	c := leaseDefaults
	c.flags = request.flags
	c.label = request.held(request.label)
	c.port, c.min, c.max = request.preferred, request.min, request.max
	// At least one, to have an address; of more than there can be the library writes none.
	handles := make([]*C.trop_lease_handle, min(max(count, 1), maxCount))
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_lease_many(registry, C.uint32_t(count), &c, &handles[0], failure)
	})
	if err != nil {
		return nil, err
	}
	leases := make([]*Lease, count)
	for i := range leases {
		handle := &leaseHandle{handles[i], r.handle}
		runtime.SetFinalizer(handle, (*leaseHandle).free)
		leases[i] = &Lease{handle}
	}
	return leases, nil
}

// Leases gives the leases of everybody, by port, also those that have ended and were not yet cleared away.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or an error of the database.
func (r *Registry) Leases() ([]LeaseInfo, error) {
	return r.leases(func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_leases(registry, text, failure)
	})
}

// OwnLeases gives the leases that this registry has in this process, by port.
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
	var found []leaseRow
	if err := r.read(&found, call); err != nil {
		return nil, err
	}
	list := make([]LeaseInfo, len(found))
	for i, row := range found {
		list[i] = row.result()
	}
	return list, nil
}

// Explain tells why a port is not to be had: who has it in the registry and in the operating system, since when, and
// what to do.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or an error of the database.
func (r *Registry) Explain(port int) (Explanation, error) {
	var request request
	number := request.port("port", port)
	if request.err != nil {
		return Explanation{}, request.err
	}
	var found explanation
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

// LeaseT is [Registry.Lease] for a test or benchmark: the lease ends with it and has its name as label, unless there is
// another. A test that gets no port fails at once.
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
	// A database that is busy is no fault of the test's: the port comes back a little later.
	t.Cleanup(func() { _ = lease.Close() })
	return lease
}

// maxLabel is the length of the longest label, in bytes.
const maxLabel = 255

// Port is the number, also after the lease has ended.
func (l *Lease) Port() int {
	h := l.orNull()
	defer runtime.KeepAlive(h)
	return int(C.trop_lease_port(h.c))
}

// Label is what the lease is for; empty for none.
func (l *Lease) Label() string {
	h := l.orNull()
	defer runtime.KeepAlive(h)
	return C.GoString(C.trop_lease_label(h.c))
}

// IsOpen tells whether the lease has not ended: neither it nor its registry was closed.
func (l *Lease) IsOpen() bool {
	h := l.orNull()
	defer runtime.KeepAlive(h)
	return C.trop_lease_is_open(h.c) != 0
}

// Close ends the lease, so that its port can be given out again. Closing twice is no error. Listeners on the port stay
// as they are.
//
// It fails with ErrBusy or an error of the database. The lease has ended for this process all the same: the port can be
// given out again after the next call that leases or reserves, or when the process has ended.
func (l *Lease) Close() error {
	return l.call(func(lease *C.trop_lease_handle, failure **C.trop_error) C.int32_t {
		return C.trop_lease_close(lease, failure)
	})
}

// Listen listens on the leased TCP port, so that there is no moment between the choice of the port and its use. The host
// is an address or a name of this host; an empty one means "127.0.0.1". The listener is the caller's to close; closing
// the lease does not close it, nor the other way round.
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

// WaitListening waits until something accepts TCP connections on the loopback address of the leased port and, as far as
// the operating system tells, belongs to this process or to one that it started, directly or through others. A timeout
// of 0 looks once. It occupies a thread meanwhile.
//
// It fails with ErrInvalidArgument, ErrClosed when the lease has ended, or ErrNotListening: at once when somebody else
// listens there, else when the time is over.
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

// call makes a call of the library on the lease.
func (l *Lease) call(call func(*C.trop_lease_handle, **C.trop_error) C.int32_t) error {
	var failure *C.trop_error
	h := l.orNull()
	status := call(h.c, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return newError(status, failure)
	}
	return nil
}

// socket makes a call that answers with a socket, which package net copies: the file is to be closed.
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

// systemError is an error of package net as one of this package.
func systemError(err error) error {
	if err == nil {
		return nil
	}
	var number syscall.Errno
	errors.As(err, &number)
	return &Error{Code: ErrIO, Name: ErrIO.Error(), Message: err.Error(), Errno: number}
}

// orNull is the handle; for a lease that a Registry did not make, one of NULL, which the library refuses.
func (l *Lease) orNull() *leaseHandle {
	if l == nil || l.handle == nil {
		return &leaseHandle{}
	}
	return l.handle
}

// free ends the lease, without ever waiting, and frees its memory; nobody uses it any more.
func (h *leaseHandle) free() {
	C.trop_lease_free(h.c)
}
