// Package trop reserves TCP and UDP port numbers from the port registry of this machine, in process: no
// program, in whatever language, gets a number that another one has.
//
//	reservation, err := trop.Reserve(trop.Tag("web"))
//
// A reservation belongs to a path and an optional tag, stays until it is released, and asking again gives the
// same port. [ReserveGroup] reserves the ports of all services of a project at once. A lease is always a new
// port, and it ends when it is closed or the process ends in any way; it is what tests want:
//
//	lease := trop.LeaseT(t)
//
// The package-level functions use one registry a process, that of TROP_DATA_DIR, else ~/.trop; [Open] opens
// others.
//
// Every error of this package is an [*Error] with a stable [Code]:
//
//	if errors.Is(err, trop.ErrExhausted) { ... }
//
// The package is a thin layer over libtrop, which has to be installed. Never open a registry's database with
// a Go SQLite driver in the same process: closing either would drop the other's locks. Programs are free to
// start others with os/exec.
package trop

/*
#cgo CFLAGS: -I${SRCDIR}/../../include
#cgo LDFLAGS: -L${SRCDIR}/../../target/release -ltrop
#cgo !windows LDFLAGS: -Wl,-rpath,${SRCDIR}/../../target/release
#include <trop.h>

// For cgo, which cannot use these macros itself. Not the init functions: the defaults are made before
// checkABI has looked at the library.
static trop_open_options open_defaults(void) { return (trop_open_options)TROP_OPEN_OPTIONS_INIT; }
static trop_reserve_options reserve_defaults(void) { return (trop_reserve_options)TROP_RESERVE_OPTIONS_INIT; }
static trop_release_options release_defaults(void) { return (trop_release_options)TROP_RELEASE_OPTIONS_INIT; }
static trop_list_options list_defaults(void) { return (trop_list_options)TROP_LIST_OPTIONS_INIT; }
static trop_group_options group_defaults(void) { return (trop_group_options)TROP_GROUP_OPTIONS_INIT; }
static trop_clean_options clean_defaults(void) { return (trop_clean_options)TROP_CLEAN_OPTIONS_INIT; }
static trop_migrate_options migrate_defaults(void) { return (trop_migrate_options)TROP_MIGRATE_OPTIONS_INIT; }
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
)

// The default options, read from C once because each call of C costs time.
var (
	openDefaults    = C.open_defaults()
	reserveDefaults = C.reserve_defaults()
	releaseDefaults = C.release_defaults()
	listDefaults    = C.list_defaults()
	groupDefaults   = C.group_defaults()
	cleanDefaults   = C.clean_defaults()
	migrateDefaults = C.migrate_defaults()
)

// A Registry is an open port registry. Any number of goroutines may use it at once, and a copy is the same
// registry. Close it when it is no longer needed. Of one that becomes unreachable the garbage collector
// closes the files; leases and ports that it has given last.
type Registry struct {
	handle *handle
}

// A handle is what all copies of a Registry share. Close does not free it: the garbage collector does when no
// copy is left, so that no call can use freed memory.
type handle struct {
	c *C.trop_registry
	// A Go pointer, because the runtime packs small values without one into a shared block, where the
	// finalizer would run only when all of them are unreachable.
	_ *byte
}

// Open opens the registry of a data directory, by default TROP_DATA_DIR, else ~/.trop, and creates what is
// missing.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrConfig, ErrCorrupt, ErrSchema, ErrNoDataDir, ErrIO,
// ErrUnsupported or ErrSecondCopy.
func Open(options ...OpenOption) (*Registry, error) {
	request := newRequest(options, OpenOption.forOpen)
	defer request.free()
	if request.err != nil {
		return nil, request.err
	}
	c := openDefaults
	c.flags = request.flags
	c.data_dir, c.excluded = request.pinned(request.dataDir), request.pinned(request.excluded)
	c.busy_timeout_ms = request.busyTimeout
	c.ports_min, c.ports_max = request.portsMin, request.portsMax
	c.start_dir, c.config_file = request.pinned(request.startDir), request.pinned(request.configFile)
	registry, err := open(c)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(registry.handle, (*handle).forget)
	return registry, nil
}

// Reserve returns the reservation of a path and tag, and makes it if there is none: with the preferred port
// if that is usable, else with the lowest usable one of the range. Without options it is that of the working
// directory without a tag. If no port of the range is usable, the range is cleaned up first, as far as that
// is not switched off.
//
// It fails with ErrInvalidArgument, ErrExhausted, ErrBusy, ErrUnrelatedPath, ErrStickyField, ErrConfig,
// ErrClosed or a database error. After a failure the registry is unchanged.
func (r *Registry) Reserve(options ...ReserveOption) (Reservation, error) {
	request := newRequest(options, ReserveOption.forReserve)
	defer request.free()
	if request.err != nil {
		return Reservation{}, request.err
	}
	c := reserveDefaults
	c.flags = request.flags
	c.project, c.task = request.pinned(request.project), request.pinned(request.task)
	c.port, c.min, c.max = request.preferred, request.min, request.max
	var made reservationFields
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return made.reserve(registry, request.path, request.tag, &c, failure)
	})
	if err != nil {
		return Reservation{}, err
	}
	return made.take()
}

// Release gives back the ports of a path, all or none, and returns how many there were; it is no error if
// there is none. By default these are all ports of the working directory, tagged or not.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrUnrelatedPath, ErrClosed or a database error. After a failure
// the registry is unchanged.
func (r *Registry) Release(options ...ReleaseOption) (int, error) {
	request := newRequest(options, ReleaseOption.forRelease)
	defer request.free()
	if request.err != nil {
		return 0, request.err
	}
	c := releaseDefaults
	c.flags = request.flags
	c.path, c.tag = request.pinned(request.path), request.pinned(request.tag)
	var count C.uint64_t
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_release(registry, &c, &count, failure)
	})
	return int(count), err
}

// ReleasePort gives back a port, whatever path and tag it is reserved for, and reports whether it was
// reserved or leased; it is no error if it was not.
//
// It fails with ErrInvalidArgument, ErrConflict when a running program leases the port, unless it is forced,
// ErrBusy, ErrClosed or a database error. After a failure the registry is unchanged.
func (r *Registry) ReleasePort(port int, options ...ReleasePortOption) (bool, error) {
	request := newRequest(options, ReleasePortOption.forReleasePort)
	defer request.free()
	number := request.port("port", port)
	if request.err != nil {
		return false, request.err
	}
	var count C.uint64_t
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_release_port(registry, number, request.flags, &count, failure)
	})
	return count == 1, err
}

// Find returns the reservation of exactly a path and tag, nil if there is none. Without options it is that of
// the working directory without a tag. This does not count as a use of it.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) Find(options ...FindOption) (*Reservation, error) {
	request := newRequest(options, FindOption.forFind)
	defer request.free()
	if request.err != nil {
		return nil, request.err
	}
	return r.find(func(
		registry *C.trop_registry, found *reservationFields, failure **C.trop_error,
	) C.int32_t {
		return found.find(registry, request.path, request.tag, failure)
	})
}

// FindPort returns the reservation that has a port, nil if there is none. This does not count as a use of it.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) FindPort(port int) (*Reservation, error) {
	var request request
	number := request.port("port", port)
	if request.err != nil {
		return nil, request.err
	}
	return r.find(func(
		registry *C.trop_registry, found *reservationFields, failure **C.trop_error,
	) C.int32_t {
		return found.findPort(registry, number, failure)
	})
}

// List returns the reservations that meet all options, without options all reservations, ordered by path,
// then tag, the untagged one first.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) List(options ...ListOption) ([]Reservation, error) {
	request := newRequest(options, ListOption.forList)
	defer request.free()
	if request.err != nil {
		return nil, request.err
	}
	c := listDefaults
	c.project, c.tag = request.pinned(request.project), request.pinned(request.tag)
	c.path = request.pinned(request.path)
	var found jsonReservations
	err := r.read(&found, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_list(registry, &c, text, failure)
	})
	if err != nil {
		return nil, err
	}
	return found.result(), nil
}

// Projects returns the distinct projects of all reservations, in the order of their bytes.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error.
func (r *Registry) Projects() (projects []string, err error) {
	err = r.read(&projects, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_projects(registry, text, failure)
	})
	return projects, err
}

// ReserveGroup reserves one port for each service of a group, all or none, and returns them by the tags of
// the services. A group that is reserved keeps its ports. Otherwise each service gets its preferred port if
// that is usable, and the others get the lowest usable ports at their offsets from a common base. The
// reservations belong to the directory of the group's file. Without options it is the group of the
// configuration that the registry found when it was opened.
//
// It fails with ErrInvalidArgument, ErrNotFound when no group is defined, ErrConflict when tagged
// reservations of the path are not this group, ErrExhausted, ErrBusy, ErrUnrelatedPath, ErrStickyField,
// ErrConfig, ErrClosed or a database error. After a failure the registry is unchanged.
func (r *Registry) ReserveGroup(options ...GroupOption) (ports map[string]int, err error) {
	request := newRequest(options, GroupOption.forGroup)
	defer request.free()
	if request.err != nil {
		return nil, request.err
	}
	c := groupDefaults
	c.flags = request.flags
	c.file, c.task = request.pinned(request.file), request.pinned(request.task)
	err = r.read(&ports, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_reserve_group(registry, &c, text, failure)
	})
	return ports, err
}

// Prune removes the reservations whose path is certainly no longer a directory, all or none.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error. After a failure the registry is
// unchanged.
func (r *Registry) Prune(options ...PruneOption) (Cleanup, error) {
	return r.clean(C.TROP_CLEAN_PRUNE, newRequest(options, PruneOption.forPrune))
}

// Expire removes the reservations last used more than a number of days ago, all or none.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error. After a failure the registry is
// unchanged.
func (r *Registry) Expire(options ...ExpireOption) (Cleanup, error) {
	return r.clean(C.TROP_CLEAN_EXPIRE, newRequest(options, ExpireOption.forExpire))
}

// Autoclean is [Registry.Prune] and [Registry.Expire] in one step, all or none. A reservation that both would
// remove counts as pruned.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrClosed or a database error. After a failure the registry is
// unchanged.
func (r *Registry) Autoclean(options ...ExpireOption) (Cleanup, error) {
	return r.clean(C.TROP_CLEAN_PRUNE|C.TROP_CLEAN_EXPIRE, newRequest(options, ExpireOption.forExpire))
}

func (r *Registry) clean(what C.uint32_t, request *request) (Cleanup, error) {
	if request.err != nil {
		return Cleanup{}, request.err
	}
	c := cleanDefaults
	c.flags = request.flags | what
	c.days = request.days
	var found jsonCleanup
	err := r.read(&found, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_clean(registry, &c, text, failure)
	})
	if err != nil {
		return Cleanup{}, err
	}
	return *found.result(), nil
}

// Migrate moves the reservations of a path to another path, with all tags, after their directory was moved.
// Ports and everything else stay as they are. All are moved or none. Neither path need exist.
//
// It fails with ErrInvalidArgument, ErrNotFound when there is nothing at exactly the path, unless it is
// recursive, ErrConflict when paths and tags at the destination are taken, unless it is forced, ErrBusy,
// ErrClosed or a database error. After a failure the registry is unchanged.
func (r *Registry) Migrate(from, to string, options ...MigrateOption) (Migration, error) {
	request := newRequest(options, MigrateOption.forMigrate)
	defer request.free()
	c := migrateDefaults
	c.flags = request.flags
	c.from, c.to = request.pinned(request.text("from", from)), request.pinned(request.text("to", to))
	if request.err != nil {
		return Migration{}, request.err
	}
	var found jsonMigration
	err := r.read(&found, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_migrate(registry, &c, text, failure)
	})
	if err != nil {
		return Migration{}, err
	}
	return found.result(), nil
}

// Scan finds out which ports of the registry's range, or of the one given, something on this machine has
// bound, with the probes of the registry, and returns what it found ordered by port. The answer holds for
// that moment only.
//
// It fails with ErrInvalidArgument, ErrBusy, ErrConfig for a range that ends before it begins, ErrClosed or a
// database error.
func (r *Registry) Scan(options ...ScanOption) (findings []Finding, err error) {
	request := newRequest(options, ScanOption.forScan)
	defer request.free()
	if request.err != nil {
		return nil, request.err
	}
	err = r.read(&findings, func(registry *C.trop_registry, text **C.char, failure **C.trop_error) C.int32_t {
		return C.trop_scan(registry, request.min, request.max, text, failure)
	})
	return findings, err
}

// ValidateDatabase checks the whole database: version, structure, every row, every page. It only reads.
//
// It fails with ErrCorrupt for the first fault found, also when there is no database, ErrInvalidArgument,
// ErrBusy, ErrSchema, ErrUnsupported when it cannot be read, or ErrClosed.
func (r *Registry) ValidateDatabase() error {
	return r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return C.trop_validate_database(registry, failure)
	})
}

// ValidateConfig returns what is wrong with one configuration file: nothing if it is valid. A file called
// config.yaml is checked as that of a data directory, any other as that of a project. Nothing else is read.
//
// It fails with ErrInvalidArgument if there is no such file, or ErrIO.
func ValidateConfig(file string) (problems []Problem, err error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var request request
	defer request.free()
	path := request.text("file", file)
	if request.err != nil {
		return nil, request.err
	}
	var text *C.char
	var failure *C.trop_error
	if status := C.trop_validate_config(path, &text, &failure); status != C.TROP_OK {
		return nil, newError(status, failure)
	}
	defer C.trop_string_free(text)
	err = decode(C.GoString(text), &problems)
	return problems, err
}

// Close closes the registry: later calls fail with ErrClosed, calls under way finish, reservations stay,
// leases end. Closing twice is no error; the result is always nil.
func (r *Registry) Close() error {
	h := r.handleOrNull()
	C.trop_registry_close(h.c)
	runtime.KeepAlive(h)
	return nil
}

// call calls the library with the registry, which stays alive until the call returns.
func (r *Registry) call(call func(*C.trop_registry, **C.trop_error) C.int32_t) error {
	var failure *C.trop_error
	h := r.handleOrNull()
	status := call(h.c, &failure)
	runtime.KeepAlive(h)
	if status != C.TROP_OK {
		return newError(status, failure)
	}
	return nil
}

// read makes a call that returns JSON, and decodes that.
func (r *Registry) read(into any, call func(*C.trop_registry, **C.char, **C.trop_error) C.int32_t) error {
	var text *C.char
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return call(registry, &text, failure)
	})
	if err != nil {
		return err
	}
	defer C.trop_string_free(text)
	return decode(C.GoString(text), into)
}

// find makes a call that returns a reservation or none.
func (r *Registry) find(
	call func(*C.trop_registry, *reservationFields, **C.trop_error) C.int32_t,
) (*Reservation, error) {
	var found reservationFields
	err := r.call(func(registry *C.trop_registry, failure **C.trop_error) C.int32_t {
		return call(registry, &found, failure)
	})
	if err != nil || found.isNone() {
		return nil, err
	}
	reservation, err := found.take()
	return &reservation, err
}

// shared makes a call with a new handle of the process-wide registry, which stays open.
func shared[T any](call func(*Registry) (T, error)) (T, error) {
	options := openDefaults
	options.flags = C.TROP_OPEN_SHARED
	registry, err := open(options)
	if err != nil {
		var none T
		return none, err
	}
	defer registry.handle.forget()
	return call(registry)
}

func open(options C.trop_open_options) (*Registry, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var c *C.trop_registry
	var failure *C.trop_error
	if status := C.trop_open(&options, &c, &failure); status != C.TROP_OK {
		return nil, newError(status, failure)
	}
	return &Registry{&handle{c: c}}, nil
}

// checkABI fails if this package was compiled for another binary interface than that of the loaded library.
var checkABI = sync.OnceValue(func() error {
	if found := C.trop_abi_version(); found != C.TROP_ABI_VERSION {
		return &Error{
			Code: ErrUnsupported,
			Name: ErrUnsupported.Error(),
			Message: fmt.Sprintf(
				"unsupported: libtrop has binary interface %d, this program was compiled for %d",
				found, C.TROP_ABI_VERSION,
			),
		}
	}
	return nil
})

// handleOrNull returns the handle of a registry. For one that Open did not make it returns a handle with NULL
// inside, which the library refuses with an error.
func (r *Registry) handleOrNull() *handle {
	if r == nil || r.handle == nil {
		return &handle{}
	}
	return r.handle
}

// forget frees the memory of the handle, which must not be used any more. What was leased through it lasts.
func (h *handle) forget() {
	C.trop_registry_forget(h.c)
}
