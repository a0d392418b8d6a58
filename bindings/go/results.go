package trop

/*
#include <trop.h>

// A reservation and what all its accessors return, because one call of C is cheaper than one for each of
// them.
typedef struct {
	trop_reservation *reservation;
	const char *path, *tag, *project, *task, *refusal, *cleanup;
	int64_t created_at, last_used_at;
	int32_t created;
	uint16_t port;
} reservation_fields;

static int32_t read_fields(int32_t status, reservation_fields *made) {
	const trop_reservation *r = made->reservation;
	made->path = trop_reservation_path(r);
	made->tag = trop_reservation_tag(r);
	made->project = trop_reservation_project(r);
	made->task = trop_reservation_task(r);
	made->refusal = trop_reservation_refusal(r);
	made->cleanup = trop_reservation_cleanup(r);
	made->created_at = trop_reservation_created_at(r);
	made->last_used_at = trop_reservation_last_used_at(r);
	made->created = trop_reservation_created(r);
	made->port = trop_reservation_port(r);
	return status;
}

static int32_t reserve(trop_registry *registry, const char *path, const char *tag,
	const trop_reserve_options *others, reservation_fields *made, trop_error **error) {
	trop_reserve_options options = *others;
	options.path = path;
	options.tag = tag;
	return read_fields(trop_reserve(registry, &options, &made->reservation, error), made);
}

static int32_t find(trop_registry *registry, const char *path, const char *tag,
	reservation_fields *found, trop_error **error) {
	return read_fields(trop_find(registry, path, tag, &found->reservation, error), found);
}

static int32_t find_port(trop_registry *registry, int32_t port,
	reservation_fields *found, trop_error **error) {
	return read_fields(trop_find_port(registry, port, &found->reservation, error), found);
}
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Reservation is one port that belongs to one path and tag until it is released. It is a copy: it does not
// change with the registry, and dropping it releases nothing.
type Reservation struct {
	// Port is the port, 1 to 65535.
	Port int
	// Path is the absolute path it belongs to.
	Path string
	// Tag is the tag it belongs to; empty for none.
	Tag string
	// Project is the stored project, for people who read lists; empty for none.
	Project string
	// Task is the stored task, for people who read lists; empty for none.
	Task string
	// CreatedAt is when the path and tag got their first port, in UTC, by the second.
	CreatedAt time.Time
	// LastUsedAt is when it was last asked for, in UTC, by the second.
	LastUsedAt time.Time
	// Created reports whether this call of Reserve made the reservation; false from all other calls.
	Created bool
	// Refusal tells why this call of Reserve did not use the preferred port: "outside_range", "reserved",
	// "excluded", "occupied" or "forbidden"; empty when there was no preferred port or it was used, and from
	// all other calls.
	Refusal string
	// Cleanup tells what this call of Reserve had to remove because no port of the range was usable; nil when
	// nothing was removed, and from all other calls.
	Cleanup *Cleanup
}

// A Cleanup is what was removed because nobody needs it any more.
type Cleanup struct {
	// Pruned are the reservations whose path is no longer a directory, ordered by path, then tag.
	Pruned []Reservation
	// Expired are the reservations that were not used for more than Days and were not pruned, the oldest
	// first.
	Expired []Reservation
	// Preserved are the paths that could not be inspected and kept their reservations.
	Preserved []Preserved
	// Days is the age limit.
	Days int
}

// A Preserved is a path of which trop could not find out whether its directory still exists.
type Preserved struct {
	// Path is the path.
	Path string
	// Cause is what the operating system answered, such as "permission denied".
	Cause string
}

// A Migration is what was moved from one path to another.
type Migration struct {
	// From and To are the paths in their normal form.
	From, To string
	// Moves are the reservations that were moved.
	Moves []Move
	// Conflicts are the reservations at the destination that were removed.
	Conflicts []Reservation
}

// A Move is one reservation that was moved.
type Move struct {
	// Reservation is the reservation as it was.
	Reservation
	// To is its new path.
	To string
}

// A Finding is one probe that found a port occupied. What is unknown is empty, or 0.
type Finding struct {
	// Port is the port.
	Port int `json:"port"`
	// Status is "occupied" or "occupied (reserved)".
	Status string `json:"status"`
	// Reserved reports whether a reservation has the port.
	Reserved bool `json:"reserved"`
	// Protocol is "tcp" or "udp".
	Protocol string `json:"protocol"`
	// AddressFamily is "ipv4" or "ipv6".
	AddressFamily string `json:"address_family"`
	// Scope is "localhost" or "wildcard".
	Scope string `json:"scope"`
	// Address is the address that was probed, such as "127.0.0.1".
	Address string `json:"address"`
	// ProcessID is the process that has the port.
	ProcessID int `json:"process_id"`
	// ProcessName is the name of its program.
	ProcessName string `json:"process_name"`
	// User is the user it belongs to.
	User string `json:"user"`
	// OwnerStatus says how much could be found out about the process.
	OwnerStatus string `json:"owner_status"`
}

// A LeaseInfo describes a lease of any process.
type LeaseInfo struct {
	// Port is the port.
	Port int
	// Label is its label; empty for none.
	Label string
	// State is "alive" or "ended". An ended lease blocks nobody; later calls that lease or reserve remove it.
	State string
	// PID is the process that took it, as that process sees its own number; 0 if it is not known any more.
	PID int
	// Command is the command line of that process; empty if it is not known any more.
	Command string
	// Directory is the working directory it was taken in.
	Directory string
	// Since is when it was taken, in UTC, by the second.
	Since time.Time
	// ProcessState is "running" or "ended" as the process is that took it, or "unknown" for one in another
	// container. A lease outlives its process in the children that it has forked.
	ProcessState string
	// KeptBy is the process that keeps a lease whose own process has ended; 0 if there is none or it cannot
	// be found.
	KeptBy int
}

// An Explanation is everything that is known about a port. What is unknown is empty, or 0.
type Explanation struct {
	// Port is the port.
	Port int
	// Reservation is the reservation that has it; nil for none.
	Reservation *Reservation
	// Lease is the lease that has it, or had; nil for none.
	Lease *LeaseInfo
	// Occupied reports whether something has it bound.
	Occupied bool
	// ProcessID is the process that has it bound.
	ProcessID int
	// ProcessName is the name of its program.
	ProcessName string
	// User is the user it belongs to.
	User string
	// InRange reports whether it is in the registry's range.
	InRange bool
	// Excluded reports whether the configuration excludes it.
	Excluded bool
	// Refused reports whether no search chooses it because web clients refuse to connect to it.
	Refused bool
	// Closing reports whether nobody has it, and a server that sets SO_REUSEADDR can use it beside
	// connections that are left.
	Closing bool
	// Forbidden reports whether this user may not bind it.
	Forbidden bool
	// Text is all of this in sentences, one a line.
	Text string
}

// String returns the Text.
func (e Explanation) String() string { return e.Text }

// A Problem is something wrong with a configuration file.
type Problem struct {
	// Path is the file.
	Path string `json:"path"`
	// Line is counted from 1.
	Line int `json:"line"`
	// Field is the key, such as "ports.min"; "configuration" for the file as a whole.
	Field string `json:"field"`
	// Reason is what is wrong and what would be accepted.
	Reason string `json:"reason"`
}

// A reservationFields is a reservation of the library together with what its accessors return.
type reservationFields C.reservation_fields

func (f *reservationFields) c() *C.reservation_fields { return (*C.reservation_fields)(f) }

func (f *reservationFields) reserve(
	registry *C.trop_registry, path, tag *C.char, others *C.trop_reserve_options, failure **C.trop_error,
) C.int32_t {
	return C.reserve(registry, path, tag, others, f.c(), failure)
}

func (f *reservationFields) find(
	registry *C.trop_registry, path, tag *C.char, failure **C.trop_error,
) C.int32_t {
	return C.find(registry, path, tag, f.c(), failure)
}

func (f *reservationFields) findPort(
	registry *C.trop_registry, port C.int32_t, failure **C.trop_error,
) C.int32_t {
	return C.find_port(registry, port, f.c(), failure)
}

func (f *reservationFields) isNone() bool { return f.reservation == nil }

// take turns the library's reservation into a [Reservation], and frees it.
func (f *reservationFields) take() (Reservation, error) {
	defer C.trop_reservation_free(f.reservation)
	reservation := Reservation{
		Port:       int(f.port),
		Path:       C.GoString(f.path),
		Tag:        C.GoString(f.tag),
		Project:    C.GoString(f.project),
		Task:       C.GoString(f.task),
		CreatedAt:  time.Unix(int64(f.created_at), 0).UTC(),
		LastUsedAt: time.Unix(int64(f.last_used_at), 0).UTC(),
		Created:    f.created != 0,
		Refusal:    C.GoString(f.refusal),
	}
	if f.cleanup == nil {
		return reservation, nil
	}
	var found jsonCleanup
	err := decode(C.GoString(f.cleanup), &found)
	reservation.Cleanup = found.result()
	return reservation, err
}

// decode reads JSON of the library.
func decode(text string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return &Error{
			Code:    ErrPanic,
			Name:    ErrPanic.Error(),
			Message: fmt.Sprintf("a defect of trop, please report it: its answer is unreadable: %v", err),
		}
	}
	return nil
}

// A jsonReservation is a reservation in the library's JSON.
type jsonReservation struct {
	Port       int      `json:"port"`
	Path       string   `json:"path"`
	Tag        string   `json:"tag"`
	Project    string   `json:"project"`
	Task       string   `json:"task"`
	CreatedAt  jsonTime `json:"created_at"`
	LastUsedAt jsonTime `json:"last_used_at"`
}

func (r jsonReservation) result() Reservation {
	return Reservation{
		Port:       r.Port,
		Path:       r.Path,
		Tag:        r.Tag,
		Project:    r.Project,
		Task:       r.Task,
		CreatedAt:  time.Time(r.CreatedAt),
		LastUsedAt: time.Time(r.LastUsedAt),
	}
}

type jsonReservations []jsonReservation

func (list jsonReservations) result() []Reservation {
	reservations := make([]Reservation, len(list))
	for i, reservation := range list {
		reservations[i] = reservation.result()
	}
	return reservations
}

// A jsonLease is a lease in the library's JSON.
type jsonLease struct {
	Port      int      `json:"port"`
	Label     string   `json:"label"`
	State     string   `json:"state"`
	PID       int      `json:"pid"`
	Command   string   `json:"command"`
	Directory string   `json:"directory"`
	Since     jsonTime `json:"since"`

	ProcessState string `json:"process_state"`
	KeptBy       int    `json:"kept_by"`
}

func (l jsonLease) result() LeaseInfo {
	since := time.Time(l.Since)
	return LeaseInfo{l.Port, l.Label, l.State, l.PID, l.Command, l.Directory, since, l.ProcessState, l.KeptBy}
}

type jsonExplanation struct {
	Port        int              `json:"port"`
	Reservation *jsonReservation `json:"reservation"`
	Lease       *jsonLease       `json:"lease"`
	Occupied    bool             `json:"occupied"`
	ProcessID   int              `json:"process_id"`
	ProcessName string           `json:"process_name"`
	User        string           `json:"user"`
	InRange     bool             `json:"in_range"`
	Excluded    bool             `json:"excluded"`
	Refused     bool             `json:"refused"`
	Closing     bool             `json:"closing"`
	Forbidden   bool             `json:"forbidden"`
	Text        string           `json:"text"`
}

func (e jsonExplanation) result() Explanation {
	result := Explanation{
		Port:        e.Port,
		Occupied:    e.Occupied,
		ProcessID:   e.ProcessID,
		ProcessName: e.ProcessName,
		User:        e.User,
		InRange:     e.InRange,
		Excluded:    e.Excluded,
		Refused:     e.Refused,
		Closing:     e.Closing,
		Forbidden:   e.Forbidden,
		Text:        e.Text,
	}
	if e.Reservation != nil {
		reservation := e.Reservation.result()
		result.Reservation = &reservation
	}
	if e.Lease != nil {
		lease := e.Lease.result()
		result.Lease = &lease
	}
	return result
}

type jsonCleanup struct {
	Pruned    jsonReservations `json:"pruned"`
	Expired   jsonReservations `json:"expired"`
	Preserved []Preserved      `json:"preserved"`
	Days      int              `json:"days"`
}

func (c jsonCleanup) result() *Cleanup {
	return &Cleanup{c.Pruned.result(), c.Expired.result(), c.Preserved, c.Days}
}

type jsonMigration struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Moves []struct {
		jsonReservation
		To string `json:"to"`
	} `json:"moves"`
	Conflicts jsonReservations `json:"conflicts"`
}

func (m jsonMigration) result() Migration {
	moves := make([]Move, len(m.Moves))
	for i, move := range m.Moves {
		moves[i] = Move{move.jsonReservation.result(), move.To}
	}
	return Migration{m.From, m.To, moves, m.Conflicts.result()}
}

// A jsonTime is a time in the library's JSON.
type jsonTime time.Time

func (u *jsonTime) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.DateTime, string(text))
	*u = jsonTime(parsed)
	return err
}
