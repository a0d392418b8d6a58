package trop

/*
#include <trop.h>
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

// An OpenOption changes how [Open] opens a registry. A nil option of whatever kind changes nothing.
type OpenOption interface{ forOpen(*request) }

// A ReserveOption says what to reserve.
type ReserveOption interface{ forReserve(*request) }

// A ReleaseOption says what to release.
type ReleaseOption interface{ forRelease(*request) }

// A ReleasePortOption says how to release a port.
type ReleasePortOption interface{ forReleasePort(*request) }

// A FindOption says what to find.
type FindOption interface{ forFind(*request) }

// A ListOption says which reservations to list; a reservation must meet all that are given.
type ListOption interface{ forList(*request) }

// A GroupOption says which group to reserve.
type GroupOption interface{ forGroup(*request) }

// A PruneOption says how to prune.
type PruneOption interface{ forPrune(*request) }

// An ExpireOption says what to expire, also as a part of [Autoclean].
type ExpireOption interface{ forExpire(*request) }

// A MigrateOption says what to migrate.
type MigrateOption interface{ forMigrate(*request) }

// A ScanOption says what to scan.
type ScanOption interface{ forScan(*request) }

// A LeaseOption says what to lease.
type LeaseOption interface{ forLease(*request) }

// A KeyOption says whose port is meant.
type KeyOption interface {
	ReserveOption
	ReleaseOption
	FindOption
	ListOption
}

// A PathGuardOption says which paths are acceptable.
type PathGuardOption interface {
	ReserveOption
	ReleaseOption
	GroupOption
}

// A ProjectOption says which project is meant.
type ProjectOption interface {
	ReserveOption
	ListOption
}

// A MetadataOption says what project or task the reservations of a call have.
type MetadataOption interface {
	ReserveOption
	GroupOption
}

// An OccupancyOption says how to find out whether something else has a port.
type OccupancyOption interface {
	OpenOption
	ReserveOption
	GroupOption
	LeaseOption
}

// A PortOption says which port is preferred.
type PortOption interface {
	ReserveOption
	LeaseOption
}

// A RangeOption says which ports are meant.
type RangeOption interface {
	ReserveOption
	ScanOption
	LeaseOption
}

// A RecursiveOption says whether what is below a path is meant too.
type RecursiveOption interface {
	ReleaseOption
	MigrateOption
}

// A ForceOption overrides what would refuse a call.
type ForceOption interface {
	ReserveOption
	ReleasePortOption
	GroupOption
	MigrateOption
}

// A DryRunOption says that nothing is to be changed.
type DryRunOption interface {
	ReserveOption
	ReleaseOption
	ReleasePortOption
	GroupOption
	PruneOption
	ExpireOption
	MigrateOption
}

// DataDir opens the registry in this directory; by default it is TROP_DATA_DIR, else ~/.trop.
func DataDir(path string) OpenOption {
	return option(func(r *request) { r.dataDir = r.text("data_dir", path) })
}

// Ports sets the lowest and the highest port to choose, for reservations and leases; by default they are what
// is configured, else 5000 and 7000 for reservations, 10000 and 29999 for leases.
func Ports(min, max int) OpenOption {
	return option(func(r *request) { r.portsMin, r.portsMax = r.port("ports", min), r.port("ports", max) })
}

// Excluded names ports never to choose, besides those that the configuration excludes: a comma list of ports
// and inclusive ranges such as "5001,5005..5009".
func Excluded(ports string) OpenOption {
	return option(func(r *request) { r.excluded = r.text("excluded", ports) })
}

// BusyTimeout sets how long a call waits for other users of the database, rounded up to milliseconds; 0 fails
// at once. By default it is what is configured, else 5 seconds.
func BusyTimeout(wait time.Duration) OpenOption {
	return option(func(r *request) { r.busyTimeout = r.milliseconds("busy_timeout", wait) })
}

// NoCreate makes a missing data directory or database an error, ErrNoDataDir.
func NoCreate() OpenOption { return flag(C.TROP_OPEN_NO_CREATE) }

// StartDir is where the search upward for trop.yaml and trop.local.yaml begins; by default it is the working
// directory. At most one of StartDir, ConfigFile and NoDiscovery may be given.
func StartDir(path string) OpenOption {
	return option(func(r *request) { r.startDir = r.text("start_dir", path) })
}

// ConfigFile is the project's configuration file, instead of searching for one.
func ConfigFile(path string) OpenOption {
	return option(func(r *request) { r.configFile = r.text("config_file", path) })
}

// NoDiscovery reads no configuration file.
func NoDiscovery() OpenOption { return flag(C.TROP_OPEN_NO_DISCOVERY) }

// NoVariables reads no environment variable but TROP_DATA_DIR.
func NoVariables() OpenOption { return flag(C.TROP_OPEN_NO_VARIABLES) }

// AvoidUnsafePorts says whether no search chooses a port that browsers and fetch refuse to connect to; by
// default it is what is configured, else true.
func AvoidUnsafePorts(avoid bool) OpenOption {
	if avoid {
		return flag(C.TROP_OPEN_AVOID_UNSAFE_PORTS)
	}
	return flag(C.TROP_OPEN_ALLOW_UNSAFE_PORTS)
}

// SkipOccupancyCheck makes no probe at all of whether something else has a port.
func SkipOccupancyCheck() OccupancyOption { return flag(C.TROP_SKIP_OCCUPANCY_CHECK) }

// SkipTCP makes no TCP probe.
func SkipTCP() OccupancyOption { return flag(C.TROP_SKIP_TCP) }

// SkipUDP makes no UDP probe.
func SkipUDP() OccupancyOption { return flag(C.TROP_SKIP_UDP) }

// SkipIPv4 makes no IPv4 probe.
func SkipIPv4() OccupancyOption { return flag(C.TROP_SKIP_IPV4) }

// SkipIPv6 makes no IPv6 probe.
func SkipIPv6() OccupancyOption { return flag(C.TROP_SKIP_IPV6) }

// CheckAllInterfaces takes a socket on any address for one that is in the way, not only one on loopback: the
// default for leases.
func CheckAllInterfaces() OccupancyOption { return flag(C.TROP_CHECK_ALL_INTERFACES) }

// CheckLoopbackOnly takes only sockets on loopback for ones that are in the way: the default for
// reservations.
func CheckLoopbackOnly() OccupancyOption { return flag(C.TROP_CHECK_LOOPBACK_ONLY) }

// Path is the directory, existing or not, a port belongs to; by default the working directory. A relative one
// starts there, "~" is the home directory, links are not followed. [List] takes everything below it too, by
// default all.
func Path(path string) KeyOption {
	return option(func(r *request) { r.path = r.text("path", path) })
}

// Tag tells several ports of one path apart: 1 to 255 bytes of UTF-8, white space at both ends is dropped.
func Tag(tag string) KeyOption {
	return option(func(r *request) { r.tag = r.text("tag", tag) })
}

// RefuseUnrelatedPath fails with ErrUnrelatedPath for a path that is neither the working directory nor above
// or below it; by default any path is allowed.
func RefuseUnrelatedPath() PathGuardOption { return flag(C.TROP_REFUSE_UNRELATED_PATH) }

// Project is the project to store, or to list. By default a reservation has that of the configuration, else
// it keeps its own, and a new one gets what git says.
func Project(project string) ProjectOption {
	return option(func(r *request) { r.project = r.text("project", project) })
}

// Task is the task to store. By default a reservation has that of the configuration, else it keeps its own,
// and a new one gets what git says.
func Task(task string) MetadataOption {
	return option(func(r *request) { r.task = r.text("task", task) })
}

// AllowProjectChange allows to change a stored project, which is ErrStickyField otherwise.
func AllowProjectChange() MetadataOption { return flag(C.TROP_ALLOW_PROJECT_CHANGE) }

// AllowTaskChange allows to change a stored task, which is ErrStickyField otherwise.
func AllowTaskChange() MetadataOption { return flag(C.TROP_ALLOW_TASK_CHANGE) }

// ClearProject stores no project, whatever configuration and git say.
func ClearProject() ReserveOption { return flag(C.TROP_RESERVE_CLEAR_PROJECT) }

// ClearTask stores no task, whatever configuration and git say.
func ClearTask() ReserveOption { return flag(C.TROP_RESERVE_CLEAR_TASK) }

// Port is the preferred port if the path and tag have none yet; Reservation.Refusal tells why it was not
// used. For a lease it is the preferred port, or the first of several.
func Port(port int) PortOption {
	return option(func(r *request) { r.preferred = r.port("port", port) })
}

// Min replaces the lowest port of the range: that of leases for a lease, else that of reservations.
func Min(port int) RangeOption {
	return option(func(r *request) { r.min = r.port("min", port) })
}

// Max replaces the highest port of the range.
func Max(port int) RangeOption {
	return option(func(r *request) { r.max = r.port("max", port) })
}

// Overwrite chooses a new port for a path and tag that already have one.
func Overwrite() ReserveOption { return flag(C.TROP_RESERVE_OVERWRITE) }

// IgnoreOccupied uses the preferred port even if something has it bound.
func IgnoreOccupied() ReserveOption { return flag(C.TROP_RESERVE_IGNORE_OCCUPIED) }

// IgnoreExclusions uses the preferred port even if it is excluded.
func IgnoreExclusions() ReserveOption { return flag(C.TROP_RESERVE_IGNORE_EXCLUSIONS) }

// DisableAutoprune keeps the reservations of missing directories when all ports are taken.
func DisableAutoprune() ReserveOption { return flag(C.TROP_RESERVE_DISABLE_AUTOPRUNE) }

// DisableAutoexpire keeps the reservations that were last used too long ago when all ports are taken.
func DisableAutoexpire() ReserveOption { return flag(C.TROP_RESERVE_DISABLE_AUTOEXPIRE) }

// Force makes Reserve overwrite, use the preferred port even if it is occupied or excluded, and accept any
// path and any change; ReserveGroup accept the same and replace tagged reservations of the path that are not
// the group; Migrate remove reservations that have a path and tag at the destination; ReleasePort end the
// lease of a running program.
func Force() ForceOption { return flag(C.TROP_FORCE) }

// UntaggedOnly releases only the reservation without a tag.
func UntaggedOnly() ReleaseOption { return flag(C.TROP_RELEASE_UNTAGGED_ONLY) }

// Recursive includes everything below the path.
func Recursive() RecursiveOption { return flag(C.TROP_RECURSIVE) }

// File is the configuration file that defines the group; by default the one the registry found when it was
// opened.
func File(path string) GroupOption {
	return option(func(r *request) { r.file = r.text("file", path) })
}

// ByVariable names the ports by their environment variables instead of by their tags.
func ByVariable() GroupOption { return flag(C.TROP_GROUP_BY_VARIABLE) }

// Days sets after how many days without use a reservation expires, at least 1; by default what is configured,
// else 30.
func Days(days int) ExpireOption {
	return option(func(r *request) {
		if r.days = C.int64_t(days); days < 0 {
			r.refuse("days", fmt.Sprintf("%d is negative", days))
		}
	})
}

// Label is a label of a lease for people who read lists: 1 to 255 bytes of UTF-8, white space at both ends is
// dropped.
func Label(label string) LeaseOption {
	return option(func(r *request) { r.label = r.text("label", label) })
}

// Contiguous leases consecutive ports.
func Contiguous() LeaseOption { return flag(C.TROP_LEASE_CONTIGUOUS) }

// Hold keeps a socket bound to the port while the lease is open, so that the system assigns it to no other
// program. A server that sets SO_REUSEADDR, as those of package net do, can still listen on it; one that does
// not set it cannot. Linux only.
func Hold() LeaseOption { return flag(C.TROP_LEASE_HOLD) }

// DryRun does everything on a copy in memory: the call gives the same result, and nothing is changed.
func DryRun() DryRunOption { return flag(C.TROP_DRY_RUN) }

// An option implements the interfaces of all calls. The return type of each public function limits which
// calls take its option.
type option func(*request)

func flag(flag C.uint32_t) option {
	return func(r *request) { r.flags |= flag }
}

func (o option) forOpen(r *request)        { o(r) }
func (o option) forReserve(r *request)     { o(r) }
func (o option) forRelease(r *request)     { o(r) }
func (o option) forReleasePort(r *request) { o(r) }
func (o option) forFind(r *request)        { o(r) }
func (o option) forList(r *request)        { o(r) }
func (o option) forGroup(r *request)       { o(r) }
func (o option) forPrune(r *request)       { o(r) }
func (o option) forExpire(r *request)      { o(r) }
func (o option) forMigrate(r *request)     { o(r) }
func (o option) forScan(r *request)        { o(r) }
func (o option) forLease(r *request)       { o(r) }

// A request collects the options of a call as C values, and keeps the first error: a value that C cannot
// express. It must be freed, which unpins its texts.
type request struct {
	flags                                    C.uint32_t
	dataDir, excluded, startDir, configFile  *C.char
	path, tag, project, task, file, from, to *C.char
	label                                    *C.char
	portsMin, portsMax, preferred, min, max  C.int32_t
	busyTimeout                              C.int32_t
	days                                     C.int64_t
	pinner                                   runtime.Pinner
	err                                      error
}

const notGiven = -1

// newRequest collects options; apply is the method through which an option of this kind writes to the
// request.
func newRequest[O any](options []O, apply func(O, *request)) *request {
	r := &request{
		portsMin: notGiven, portsMax: notGiven, preferred: notGiven, min: notGiven, max: notGiven,
		busyTimeout: notGiven, days: notGiven,
	}
	for _, option := range options {
		if any(option) != nil {
			apply(option, r)
		}
	}
	return r
}

// text returns a NUL-terminated copy in the memory of Go: C.CString would cost a call of C to make it and
// another one to free it.
func (r *request) text(argument, text string) *C.char {
	if strings.ContainsRune(text, 0) {
		r.refuse(argument, "Cannot contain a NUL character")
		return nil
	}
	copied := make([]byte, len(text)+1)
	copy(copied, text)
	return (*C.char)(unsafe.Pointer(&copied[0]))
}

// pinned pins a text that goes into a field of a C struct, until the request is freed. cgo itself pins only
// what is an argument of the call.
func (r *request) pinned(text *C.char) *C.char {
	if text != nil {
		r.pinner.Pin(text)
	}
	return text
}

func (r *request) port(argument string, number int) C.int32_t {
	if number < 0 || number > math.MaxInt32 {
		r.refuse(argument, fmt.Sprintf("%d is not a port number (1 to 65535)", number))
		return 0
	}
	return C.int32_t(number)
}

// milliseconds rounds up, so that a short wait does not become 0, which would not wait at all.
func (r *request) milliseconds(argument string, wait time.Duration) C.int32_t {
	if wait < 0 || wait > math.MaxInt32*time.Millisecond {
		r.refuse(argument, fmt.Sprintf("%v is not between 0 and 2147483 seconds", wait))
		return 0
	}
	return C.int32_t((wait + time.Millisecond - 1) / time.Millisecond)
}

func (r *request) refuse(argument, reason string) {
	if r.err == nil {
		r.err = &Error{
			Code:     ErrInvalidArgument,
			Name:     ErrInvalidArgument.Error(),
			Argument: argument,
			Message:  fmt.Sprintf("Invalid %s: %s", argument, reason),
		}
	}
}

// free unpins the texts.
func (r *request) free() { r.pinner.Unpin() }
