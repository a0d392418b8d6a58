// Package trop reserves TCP and UDP port numbers from the port registry of this machine, in process: nobody, in
// whatever language, gets a number that somebody else holds.
//
//	reservation, err := trop.Reserve(trop.Tag("web"))
//
// A reservation belongs to a path and an optional tag, stays until it is released, and asking again gives the same
// port. The package-level functions use one registry a process, that of TROP_DATA_DIR, else ~/.trop; [Open] opens
// others.
//
// Every error of this package is an [*Error] with a stable [Code]:
//
//	if errors.Is(err, trop.ErrExhausted) { ... }
//
// The package is a thin layer over libtrop, which has to be installed. Never open a registry's database with a Go
// SQLite driver in the same process: closing either would drop the other's locks. Programs are free to start others
// with os/exec.
package trop

/*
#cgo CFLAGS: -I${SRCDIR}/../../include
#cgo LDFLAGS: -L${SRCDIR}/../../target/release -ltrop
#cgo !windows LDFLAGS: -Wl,-rpath,${SRCDIR}/../../target/release
#include <trop.h>

// Not from the init functions: those of a newer library fill longer structs.
static trop_open_options open_defaults(void) { return (trop_open_options)TROP_OPEN_OPTIONS_INIT; }
static trop_reserve_options reserve_defaults(void) { return (trop_reserve_options)TROP_RESERVE_OPTIONS_INIT; }
static trop_release_options release_defaults(void) { return (trop_release_options)TROP_RELEASE_OPTIONS_INIT; }
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Reservation is one port that belongs to one path and tag until it is released. It is a copy: it does not change
// with the registry, and dropping it releases nothing.
type Reservation struct {
	// Port is the port, 1 to 65535.
	Port int
	// Path is the absolute path it belongs to.
	Path string
	// Tag is the tag it belongs to; empty for none.
	Tag string
	// Project is for people reading lists; empty for none.
	Project string
	// Task is for people reading lists; empty for none.
	Task string
	// CreatedAt is when the path and tag got their first port, in UTC, by the second.
	CreatedAt time.Time
	// LastUsedAt is when it was last asked for, in UTC, by the second.
	LastUsedAt time.Time
	// Created tells whether this very call of Reserve made it; false from List.
	Created bool
	// Refusal tells why this call of Reserve did not give the preferred port: "outside_range", "reserved", "excluded"
	// or "occupied"; empty when there was no such wish or it was granted, and from List.
	Refusal string
}

// A Registry is an open port registry. Any number of goroutines may use it at once, and a copy is the same registry.
// Close it when it is no longer needed; one that becomes unreachable is closed by the garbage collector.
type Registry struct {
	handle *handle
}

// A handle is what all copies of a Registry share. It is freed only when nobody can use it any more, not by Close, so
// that no call meets freed memory.
type handle struct {
	c *C.trop_registry
	// Without a pointer that Go knows as one, the runtime puts the handle into a block with other small values and frees
	// it only with the last of them.
	_ *byte
}

// Open opens the registry of a data directory, by default TROP_DATA_DIR, else ~/.trop, and creates what is missing.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrCorrupt, ErrSchema, ErrNoDataDir, ErrIO, ErrUnsupported or
// ErrSecondCopy.
func Open(options ...OpenOption) (*Registry, error) {
	request := openRequest{c: C.open_defaults()}
	defer request.free()
	for _, option := range options {
		if option != nil {
			option(&request)
		}
	}
	if request.err != nil {
		return nil, request.err
	}
	registry, err := open(request.c)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(registry.handle, (*handle).free)
	return registry, nil
}

// Reserve gives the port of a path and tag: the one they have, else the preferred one if it is usable, else the
// lowest usable one of the range. Without options it is the port of the working directory without a tag.
//
// It fails with ErrInvalidArgument, ErrExhausted, ErrBusy, ErrUnrelatedPath, ErrConfig, ErrClosed or an error of the
// database; the registry is unchanged then.
func (r *Registry) Reserve(options ...ReserveOption) (Reservation, error) {
	request := reserveRequest{c: C.reserve_defaults()}
	defer request.free()
	for _, option := range options {
		if option != nil {
			option.reserve(&request)
		}
	}
	if request.err != nil {
		return Reservation{}, request.err
	}
	request.c.path, request.c.tag = request.path, request.tag
	if request.refuseUnrelatedPath {
		request.c.flags |= C.TROP_RESERVE_REFUSE_UNRELATED_PATH
	}
	var reservation *C.trop_reservation
	var failure *C.trop_error
	h := r.orNull()
	status := C.trop_reserve(h.c, &request.c, &reservation, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return Reservation{}, newError(status, failure)
	}
	defer C.trop_reservation_free(reservation)
	return Reservation{
		Port:       int(C.trop_reservation_port(reservation)),
		Path:       C.GoString(C.trop_reservation_path(reservation)),
		Tag:        C.GoString(C.trop_reservation_tag(reservation)),
		Project:    C.GoString(C.trop_reservation_project(reservation)),
		Task:       C.GoString(C.trop_reservation_task(reservation)),
		CreatedAt:  time.Unix(int64(C.trop_reservation_created_at(reservation)), 0).UTC(),
		LastUsedAt: time.Unix(int64(C.trop_reservation_last_used_at(reservation)), 0).UTC(),
		Created:    C.trop_reservation_created(reservation) != 0,
		Refusal:    C.GoString(C.trop_reservation_refusal(reservation)),
	}, nil
}

// Release gives back the ports of a path, tagged or not, or what the options leave of them, all or none, and tells
// how many there were; none is no error. Without options the path is the working directory.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrUnrelatedPath, ErrClosed or an error of the database; the registry
// is unchanged then.
func (r *Registry) Release(options ...ReleaseOption) (int, error) {
	request := releaseRequest{c: C.release_defaults()}
	defer request.free()
	for _, option := range options {
		if option != nil {
			option.release(&request)
		}
	}
	if request.err != nil {
		return 0, request.err
	}
	request.c.path, request.c.tag = request.path, request.tag
	if request.refuseUnrelatedPath {
		request.c.flags |= C.TROP_RELEASE_REFUSE_UNRELATED_PATH
	}
	var count C.uint64_t
	var failure *C.trop_error
	h := r.orNull()
	status := C.trop_release(h.c, &request.c, &count, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return 0, newError(status, failure)
	}
	return int(count), nil
}

// List gives every reservation, ordered by path, then tag, the untagged one first.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or an error of the database.
func (r *Registry) List() ([]Reservation, error) {
	var text *C.char
	var failure *C.trop_error
	h := r.orNull()
	status := C.trop_list_json(h.c, &text, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return nil, newError(status, failure)
	}
	defer C.trop_string_free(text)
	return parseList([]byte(C.GoString(text)))
}

// Close closes the registry: later calls fail with ErrClosed, calls under way finish, reservations stay. Closing
// twice is no error; the result is always nil.
func (r *Registry) Close() error {
	h := r.orNull()
	C.trop_registry_close(h.c)
	runtime.KeepAlive(h)
	return nil
}

// Reserve is [Registry.Reserve] on the process's registry of the current data directory and working directory.
func Reserve(options ...ReserveOption) (Reservation, error) {
	registry, err := shared()
	if err != nil {
		return Reservation{}, err
	}
	defer registry.handle.free()
	return registry.Reserve(options...)
}

// Release is [Registry.Release] on the process's registry of the current data directory and working directory.
func Release(options ...ReleaseOption) (int, error) {
	registry, err := shared()
	if err != nil {
		return 0, err
	}
	defer registry.handle.free()
	return registry.Release(options...)
}

// List is [Registry.List] on the process's registry of the current data directory and working directory.
func List() ([]Reservation, error) {
	registry, err := shared()
	if err != nil {
		return nil, err
	}
	defer registry.handle.free()
	return registry.List()
}

// shared opens a handle of the process-wide registry, which stays open when the handle is freed.
func shared() (*Registry, error) {
	options := C.open_defaults()
	options.flags = C.TROP_OPEN_SHARED
	return open(options)
}

func open(options C.trop_open_options) (*Registry, error) {
	if err := compatible(); err != nil {
		return nil, err
	}
	var c *C.trop_registry
	var failure *C.trop_error
	if status := C.trop_open(&options, &c, &failure); status != C.TROP_OK {
		return nil, newError(status, failure)
	}
	return &Registry{&handle{c: c}}, nil
}

// compatible tells once whether the library that was loaded is one this package was compiled for.
var compatible = sync.OnceValue(func() error {
	if found := C.trop_abi_version(); found != C.TROP_ABI_VERSION {
		return &Error{
			Code: ErrUnsupported,
			Name: ErrUnsupported.Error(),
			Message: fmt.Sprintf("unsupported: libtrop has binary interface %d, this program was compiled for %d",
				found, C.TROP_ABI_VERSION),
		}
	}
	return nil
})

// orNull is the handle; for a registry that Open did not make, one of NULL, which the library refuses.
func (r *Registry) orNull() *handle {
	if r == nil || r.handle == nil {
		return &handle{}
	}
	return r.handle
}

// free closes the registry and frees its memory; nobody uses it any more.
func (h *handle) free() {
	C.trop_registry_free(h.c)
}

func parseList(text []byte) ([]Reservation, error) {
	var rows []struct {
		Port       int    `json:"port"`
		Path       string `json:"path"`
		Tag        string `json:"tag"`
		Project    string `json:"project"`
		Task       string `json:"task"`
		CreatedAt  utc    `json:"created_at"`
		LastUsedAt utc    `json:"last_used_at"`
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, &Error{
			Code:    ErrPanic,
			Name:    ErrPanic.Error(),
			Message: fmt.Sprintf("a defect of trop, please report it: the list is unreadable: %v", err),
		}
	}
	list := make([]Reservation, len(rows))
	for i, row := range rows {
		list[i] = Reservation{
			Port:       row.Port,
			Path:       row.Path,
			Tag:        row.Tag,
			Project:    row.Project,
			Task:       row.Task,
			CreatedAt:  time.Time(row.CreatedAt),
			LastUsedAt: time.Time(row.LastUsedAt),
		}
	}
	return list, nil
}

// A utc is a time as lists write it.
type utc time.Time

func (u *utc) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.DateTime, string(text))
	*u = utc(parsed)
	return err
}
