package trop

/*
#include <stdlib.h>
#include <trop.h>
*/
import "C"

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"
)

// An OpenOption changes how [Open] opens a registry. A nil one changes nothing.
type OpenOption func(*openRequest)

// DataDir opens the registry in this directory; by default it is TROP_DATA_DIR, else ~/.trop.
func DataDir(path string) OpenOption {
	return func(r *openRequest) { r.c.data_dir = r.text("data_dir", path) }
}

// Ports sets the lowest and the highest port to choose; by default 5000 and 7000.
func Ports(min, max int) OpenOption {
	return func(r *openRequest) { r.c.ports_min, r.c.ports_max = r.port("ports", min), r.port("ports", max) }
}

// Excluded names ports never to choose, as a comma list of ports and inclusive ranges such as "5001,5005..5009".
func Excluded(ports string) OpenOption {
	return func(r *openRequest) { r.c.excluded = r.text("excluded", ports) }
}

// BusyTimeout sets how long a call waits for other users of the database, by the millisecond; 0 fails at once. By
// default it is 5 seconds.
func BusyTimeout(wait time.Duration) OpenOption {
	return func(r *openRequest) { r.c.busy_timeout_ms = r.milliseconds("busy_timeout", wait) }
}

// NoCreate makes a missing data directory or database an error, ErrNoDataDir.
func NoCreate() OpenOption { return openFlag(C.TROP_OPEN_NO_CREATE) }

// SkipOccupancyCheck makes no probe at all of whether something else has a port.
func SkipOccupancyCheck() OpenOption { return openFlag(C.TROP_OPEN_SKIP_OCCUPANCY_CHECK) }

// SkipTCP makes no TCP probe.
func SkipTCP() OpenOption { return openFlag(C.TROP_OPEN_SKIP_TCP) }

// SkipUDP makes no UDP probe.
func SkipUDP() OpenOption { return openFlag(C.TROP_OPEN_SKIP_UDP) }

// SkipIPv4 makes no IPv4 probe.
func SkipIPv4() OpenOption { return openFlag(C.TROP_OPEN_SKIP_IPV4) }

// SkipIPv6 makes no IPv6 probe.
func SkipIPv6() OpenOption { return openFlag(C.TROP_OPEN_SKIP_IPV6) }

// CheckAllInterfaces probes the wildcard addresses too, not only loopback.
func CheckAllInterfaces() OpenOption { return openFlag(C.TROP_OPEN_CHECK_ALL_INTERFACES) }

// A ReserveOption says what to reserve. A nil one says nothing.
type ReserveOption interface{ reserve(*reserveRequest) }

// Port is the preferred port if the path and tag have none yet; Reservation.Refusal tells why it was not given.
func Port(port int) ReserveOption {
	return reserveOption(func(r *reserveRequest) { r.c.port = r.port("port", port) })
}

// Min replaces the lowest port to choose.
func Min(port int) ReserveOption {
	return reserveOption(func(r *reserveRequest) { r.c.min = r.port("min", port) })
}

// Max replaces the highest port to choose.
func Max(port int) ReserveOption {
	return reserveOption(func(r *reserveRequest) { r.c.max = r.port("max", port) })
}

// A ReleaseOption says what to release. A nil one says nothing.
type ReleaseOption interface{ release(*releaseRequest) }

// UntaggedOnly releases only the reservation without a tag.
func UntaggedOnly() ReleaseOption {
	return releaseOption(func(r *releaseRequest) { r.c.flags |= C.TROP_RELEASE_UNTAGGED_ONLY })
}

// A KeyOption says whose port is meant; both Reserve and Release take it.
type KeyOption interface {
	ReserveOption
	ReleaseOption
}

// Path is the directory, existing or not, a port belongs to; by default the working directory. A relative one starts
// there, "~" is the home directory, links are not followed.
func Path(path string) KeyOption {
	return keyOption(func(k *key) { k.path = k.text("path", path) })
}

// Tag tells several ports of one path apart: 1 to 255 bytes of UTF-8, white space at both ends dropped.
func Tag(tag string) KeyOption {
	return keyOption(func(k *key) { k.tag = k.text("tag", tag) })
}

// RefuseUnrelatedPath fails with ErrUnrelatedPath for a path that is neither the working directory nor above or below
// it; by default any path is allowed.
func RefuseUnrelatedPath() KeyOption {
	return keyOption(func(k *key) { k.refuseUnrelatedPath = true })
}

type openRequest struct {
	arguments
	c C.trop_open_options
}

func openFlag(flag C.uint32_t) OpenOption {
	return func(r *openRequest) { r.c.flags |= flag }
}

// A key is what requests of both kinds have in common.
type key struct {
	arguments
	path, tag           *C.char
	refuseUnrelatedPath bool
}

type keyOption func(*key)

func (o keyOption) reserve(r *reserveRequest) { o(&r.key) }
func (o keyOption) release(r *releaseRequest) { o(&r.key) }

type reserveRequest struct {
	key
	c C.trop_reserve_options
}

type reserveOption func(*reserveRequest)

func (o reserveOption) reserve(r *reserveRequest) { o(r) }

type releaseRequest struct {
	key
	c C.trop_release_options
}

type releaseOption func(*releaseRequest)

func (o releaseOption) release(r *releaseRequest) { o(r) }

// An arguments translates values for C: it keeps the texts to free and the first value that C cannot express.
type arguments struct {
	texts []*C.char
	err   error
}

func (a *arguments) text(argument, text string) *C.char {
	if strings.ContainsRune(text, 0) {
		a.refuse(argument, "Cannot contain a NUL character")
		return nil
	}
	copied := C.CString(text)
	a.texts = append(a.texts, copied)
	return copied
}

func (a *arguments) port(argument string, number int) C.int32_t {
	if number < 0 || number > math.MaxInt32 {
		a.refuse(argument, fmt.Sprintf("%d is not a port number (1 to 65535)", number))
		return 0
	}
	return C.int32_t(number)
}

// milliseconds rounds up, so that a short wait does not become none.
func (a *arguments) milliseconds(argument string, wait time.Duration) C.int32_t {
	if wait < 0 || wait > math.MaxInt32*time.Millisecond {
		a.refuse(argument, fmt.Sprintf("%v is not between 0 and 2147483 seconds", wait))
		return 0
	}
	return C.int32_t((wait + time.Millisecond - 1) / time.Millisecond)
}

func (a *arguments) refuse(argument, reason string) {
	if a.err == nil {
		a.err = &Error{
			Code:     ErrInvalidArgument,
			Name:     ErrInvalidArgument.Error(),
			Argument: argument,
			Message:  fmt.Sprintf("Invalid %s: %s", argument, reason),
		}
	}
}

// free frees the texts.
func (a *arguments) free() {
	for _, text := range a.texts {
		C.free(unsafe.Pointer(text))
	}
}
