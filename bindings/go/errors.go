package trop

/*
#include <trop.h>
*/
import "C"

import (
	"fmt"
	"syscall"
)

// A Code is the stable reason of an [*Error], the same number in every language. It is an error itself, for
// errors.Is:
//
//	errors.Is(err, trop.ErrBusy)
type Code int32

// The codes. The numbers are frozen.
const (
	// ErrInvalidArgument: an argument is not acceptable; Error.Argument names it.
	ErrInvalidArgument Code = C.TROP_ERR_INVALID_ARGUMENT
	// ErrExhausted: no port of the range is usable.
	ErrExhausted Code = C.TROP_ERR_EXHAUSTED
	// ErrBusy: the wait for the database lock ran out.
	ErrBusy Code = C.TROP_ERR_BUSY
	// ErrNotFound: what was asked for does not exist.
	ErrNotFound Code = C.TROP_ERR_NOT_FOUND
	// ErrConflict: another reservation, a live lease or another program's rule in the database is in the way.
	ErrConflict Code = C.TROP_ERR_CONFLICT
	// ErrStickyField: the stored project or task differs and may not be changed.
	ErrStickyField Code = C.TROP_ERR_STICKY_FIELD
	// ErrUnrelatedPath: the path is neither above nor below the working directory.
	ErrUnrelatedPath Code = C.TROP_ERR_UNRELATED_PATH
	// ErrConfig: the effective configuration is invalid.
	ErrConfig Code = C.TROP_ERR_CONFIG
	// ErrCorrupt: the database is damaged or is no database.
	ErrCorrupt Code = C.TROP_ERR_CORRUPT
	// ErrSchema: the database has a schema that this version does not support.
	ErrSchema Code = C.TROP_ERR_SCHEMA
	// ErrNoDataDir: there is no database and creating one is switched off, or there is no place for one.
	ErrNoDataDir Code = C.TROP_ERR_NO_DATA_DIR
	// ErrIO: the operating system refused an operation; see Error.Errno.
	ErrIO Code = C.TROP_ERR_IO
	// ErrUnsupported: not supported on this platform or file system, or by the libtrop that was loaded.
	ErrUnsupported Code = C.TROP_ERR_UNSUPPORTED
	// ErrClosed: the registry was closed, or the lease has ended.
	ErrClosed Code = C.TROP_ERR_CLOSED
	// ErrNotListening: nothing listened in time.
	ErrNotListening Code = C.TROP_ERR_NOT_LISTENING
	// ErrSecondCopy: another copy of SQLite in this process has the database open.
	ErrSecondCopy Code = C.TROP_ERR_SECOND_COPY
	// ErrPanic: a bug in trop itself; the registry can no longer be used.
	ErrPanic Code = C.TROP_ERR_PANIC
)

var names = map[Code]string{
	ErrInvalidArgument: "TROP_INVALID_ARGUMENT",
	ErrExhausted:       "TROP_EXHAUSTED",
	ErrBusy:            "TROP_BUSY",
	ErrNotFound:        "TROP_NOT_FOUND",
	ErrConflict:        "TROP_CONFLICT",
	ErrStickyField:     "TROP_STICKY_FIELD",
	ErrUnrelatedPath:   "TROP_UNRELATED_PATH",
	ErrConfig:          "TROP_CONFIG",
	ErrCorrupt:         "TROP_CORRUPT",
	ErrSchema:          "TROP_SCHEMA",
	ErrNoDataDir:       "TROP_NO_DATA_DIR",
	ErrIO:              "TROP_IO",
	ErrUnsupported:     "TROP_UNSUPPORTED",
	ErrClosed:          "TROP_CLOSED",
	ErrNotListening:    "TROP_NOT_LISTENING",
	ErrSecondCopy:      "TROP_SECOND_COPY",
	ErrPanic:           "TROP_PANIC",
}

// Error returns the stable name, such as "TROP_EXHAUSTED".
func (c Code) Error() string {
	if name, known := names[c]; known {
		return name
	}
	return fmt.Sprintf("trop error %d", int32(c))
}

// An Error is what every failing call of this package returns.
type Error struct {
	// Code is the stable reason.
	Code Code
	// Name is the stable name of the code, such as "TROP_EXHAUSTED", the same in every language.
	Name string
	// Argument is the argument or setting that is wrong, such as "tag"; empty when none is.
	Argument string
	// Message is for people and not stable.
	Message string
	// Errno is the operating system's error number behind ErrIO; 0 when there is none.
	Errno syscall.Errno
}

// Error returns the message, after the name of the package.
func (e *Error) Error() string { return "trop: " + e.Message }

// Unwrap returns the code and, where it is known, the operating system's error, so that errors.Is finds both
// trop.ErrIO and fs.ErrPermission.
func (e *Error) Unwrap() []error {
	if e.Errno == 0 {
		return []error{e.Code}
	}
	return []error{e.Code, e.Errno}
}

// newError turns the library's error object into an [*Error], and frees it.
func newError(status C.int32_t, failure *C.trop_error) error {
	defer C.trop_error_free(failure)
	return &Error{
		Code:     Code(status),
		Name:     C.GoString(C.trop_error_name(failure)),
		Argument: C.GoString(C.trop_error_argument(failure)),
		Message:  C.GoString(C.trop_error_message(failure)),
		Errno:    syscall.Errno(C.trop_error_errno(failure)),
	}
}
