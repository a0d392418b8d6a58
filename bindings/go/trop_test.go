package trop_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trop"
)

// lockHolder is the program that holds a database's lock for the tests of every language.
var lockHolder, _ = filepath.Abs("../../tests/lock_holder.py")

// TestMain keeps the package-level calls away from the user's own registry, and all calls on the ports of
// this suite: each suite of the project has its own, see tests/README.md.
func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "trop-go-")
	if err != nil {
		panic(err)
	}
	os.Setenv("TROP_DATA_DIR", directory)
	for _, kind := range []string{"TROP_PORT", "TROP_LEASE_PORT"} {
		os.Setenv(kind+"_MIN", "30000")
		os.Setenv(kind+"_MAX", "31999")
	}
	status := m.Run()
	os.RemoveAll(directory)
	os.Exit(status)
}

func open(t *testing.T, options ...trop.OpenOption) *trop.Registry {
	t.Helper()
	registry, err := trop.Open(append([]trop.OpenOption{trop.DataDir(t.TempDir())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	return registry
}

func TestReserveIsIdempotentAndTagsDiffer(t *testing.T) {
	registry := open(t)
	before := time.Now().Add(-time.Second)
	web, err := registry.Reserve(trop.Path("/project"), trop.Tag(" web "))
	if err != nil {
		t.Fatal(err)
	}
	if !web.Created || web.Path != "/project" || web.Tag != "web" || web.Refusal != "" {
		t.Errorf("%+v", web)
	}
	if web.CreatedAt.Before(before) || web.CreatedAt.After(time.Now()) || web.CreatedAt.Location() != time.UTC {
		t.Errorf("created at %v", web.CreatedAt)
	}
	again, err := registry.Reserve(trop.Path("/project"), trop.Tag("web"))
	if err != nil || again.Port != web.Port || again.Created {
		t.Errorf("%+v, %v", again, err)
	}
	untagged, err := registry.Reserve(trop.Path("/project"), nil)
	if err != nil || untagged.Port == web.Port || untagged.Tag != "" {
		t.Errorf("%+v, %v", untagged, err)
	}

	list, err := registry.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	again.LastUsedAt = list[1].LastUsedAt
	if list[0].Tag != "" || list[0].Port != untagged.Port || list[1] != again {
		t.Errorf("%+v", list)
	}
}

func TestReleaseCountsWhatItGaveBack(t *testing.T) {
	registry := open(t)
	for _, tag := range []string{"a", "b", "c"} {
		if _, err := registry.Reserve(trop.Path("/project"), trop.Tag(tag)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		options []trop.ReleaseOption
		count   int
	}{
		{[]trop.ReleaseOption{trop.Path("/other")}, 0},
		{[]trop.ReleaseOption{trop.Path("/project"), trop.Tag("b")}, 1},
		{[]trop.ReleaseOption{trop.Path("/project"), trop.UntaggedOnly()}, 0},
		{[]trop.ReleaseOption{trop.Path("/project"), nil}, 2},
	} {
		if count, err := registry.Release(step.options...); err != nil || count != step.count {
			t.Errorf("%d, %v instead of %d", count, err, step.count)
		}
	}
	if list, err := registry.List(); err != nil || list == nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestPackageLevelCallsShareOneRegistry(t *testing.T) {
	first, err := trop.Reserve(trop.Tag("package"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := trop.List()
	if err != nil || !slices.ContainsFunc(list, func(r trop.Reservation) bool { return r.Port == first.Port }) {
		t.Errorf("%+v, %v", list, err)
	}
	if count, err := trop.Release(trop.Tag("package")); err != nil || count != 1 {
		t.Errorf("%d, %v", count, err)
	}
}

func TestPreferredPortsAndRanges(t *testing.T) {
	registry := open(t, trop.Ports(30000, 30009), trop.Excluded("30000..30003,30005"), trop.SkipOccupancyCheck())
	for i, step := range []struct {
		option  trop.ReserveOption
		port    int
		refusal string
	}{
		{nil, 30004, ""},
		{trop.Port(30007), 30007, ""},
		{trop.Port(30007), 30006, "reserved"},
		{trop.Port(30005), 30008, "excluded"},
		{trop.Port(31000), 30009, "outside_range"},
		{trop.Max(30012), 30010, ""},
	} {
		got, err := registry.Reserve(trop.Path("/"), trop.Tag(strconv.Itoa(i)), step.option)
		if err != nil || got.Port != step.port || got.Refusal != step.refusal {
			t.Errorf("%d: %+v, %v", i, got, err)
		}
	}
	_, err := registry.Reserve(trop.Path("/"), trop.Tag("late"))
	wantError(t, err, trop.ErrExhausted, "")
}

func wantError(t *testing.T, err error, code trop.Code, argument string) {
	t.Helper()
	var failure *trop.Error
	if !errors.Is(err, code) || !errors.As(err, &failure) {
		t.Errorf("%v instead of %v", err, code)
		return
	}
	if failure.Argument != argument || failure.Name != code.Error() || failure.Message == "" {
		t.Errorf("%+v, expected the argument %q", failure, argument)
	}
}

func TestBadArgumentsAreTypedAndChangeNothing(t *testing.T) {
	registry := open(t)
	path := trop.Path("/p")
	for name, call := range map[string]struct {
		argument string
		options  []trop.ReserveOption
	}{
		"empty tag":        {"tag", []trop.ReserveOption{path, trop.Tag("")}},
		"blank tag":        {"tag", []trop.ReserveOption{path, trop.Tag(" \t")}},
		"long tag":         {"tag", []trop.ReserveOption{path, trop.Tag(strings.Repeat("x", 300))}},
		"tag with NUL":     {"tag", []trop.ReserveOption{path, trop.Tag("a\x00b")}},
		"tag not UTF-8":    {"tag", []trop.ReserveOption{path, trop.Tag("\xff")}},
		"empty path":       {"path", []trop.ReserveOption{trop.Path("")}},
		"path with NUL":    {"path", []trop.ReserveOption{trop.Path("/a\x00b")}},
		"path not UTF-8":   {"path", []trop.ReserveOption{trop.Path("/\xff")}},
		"above the root":   {"path", []trop.ReserveOption{trop.Path("/../x")}},
		"port 0":           {"port", []trop.ReserveOption{path, trop.Port(0)}},
		"port -1":          {"port", []trop.ReserveOption{path, trop.Port(-1)}},
		"port 65536":       {"port", []trop.ReserveOption{path, trop.Port(65536)}},
		"port 2^32+80":     {"port", []trop.ReserveOption{path, trop.Port(math.MaxUint32 + 81)}},
		"port -2^32+80":    {"port", []trop.ReserveOption{path, trop.Port(-math.MaxUint32 + 79)}},
		"min -1":           {"min", []trop.ReserveOption{path, trop.Min(-1)}},
		"max 0":            {"max", []trop.ReserveOption{path, trop.Max(0)}},
		"min above max":    {"min", []trop.ReserveOption{path, trop.Min(30002), trop.Max(30001)}},
		"the first of two": {"tag", []trop.ReserveOption{trop.Tag("\x00"), trop.Port(-1), path}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := registry.Reserve(call.options...)
			wantError(t, err, trop.ErrInvalidArgument, call.argument)
		})
	}
	_, err := registry.Release(path, trop.Tag(""))
	wantError(t, err, trop.ErrInvalidArgument, "tag")
	_, err = registry.Release(path, trop.Tag("x"), trop.UntaggedOnly())
	wantError(t, err, trop.ErrInvalidArgument, "untagged_only")
	if list, err := registry.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestUnrelatedPathsAreRefusedOnRequest(t *testing.T) {
	registry := open(t)
	_, err := registry.Reserve(trop.Path("/unrelated"), trop.RefuseUnrelatedPath())
	wantError(t, err, trop.ErrUnrelatedPath, "path")
	_, err = registry.Release(trop.Path("/unrelated"), trop.RefuseUnrelatedPath())
	wantError(t, err, trop.ErrUnrelatedPath, "path")
	if _, err = registry.Reserve(trop.RefuseUnrelatedPath()); err != nil {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(directory, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Repeat("not SQLite", 500))
	if err := os.WriteFile(filepath.Join(broken, "trop.db"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	good := trop.DataDir(filepath.Join(directory, "good"))
	with := func(options ...trop.OpenOption) []trop.OpenOption { return options }
	const invalid = trop.ErrInvalidArgument
	for name, call := range map[string]struct {
		code     trop.Code
		argument string
		options  []trop.OpenOption
	}{
		"empty data directory":     {invalid, "data_dir", with(trop.DataDir(""))},
		"data directory with NUL":  {invalid, "data_dir", with(trop.DataDir("/a\x00b"))},
		"data directory is a file": {trop.ErrIO, "data_dir", with(trop.DataDir(file))},
		"no data directory":        {trop.ErrNoDataDir, "data_dir", with(good, trop.NoCreate())},
		"not a database":           {trop.ErrCorrupt, "data_dir", with(trop.DataDir(broken))},
		"range upside down":        {invalid, "ports", with(good, trop.Ports(31000, 30000))},
		"range from -1":            {invalid, "ports", with(good, trop.Ports(-1, 30000))},
		"bad exclusion":            {invalid, "excluded", with(good, trop.Excluded("30001,x"))},
		"negative wait":            {invalid, "busy_timeout", with(good, trop.BusyTimeout(-time.Millisecond))},
		"wait above the limit":     {invalid, "busy_timeout", with(good, trop.BusyTimeout(2147484*time.Second))},
		"wait beyond 64 bits":      {invalid, "busy_timeout", with(good, trop.BusyTimeout(math.MaxInt64))},
	} {
		t.Run(name, func(t *testing.T) {
			registry, err := trop.Open(call.options...)
			wantError(t, err, call.code, call.argument)
			if registry != nil {
				t.Error("a registry with an error")
			}
		})
	}
	if _, err := os.Stat(filepath.Join(directory, "good")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused call made the data directory")
	}

	_, err := trop.Open(trop.DataDir(file))
	var number syscall.Errno
	if !errors.As(err, &number) || number == 0 {
		t.Errorf("%#v has no error number", err)
	}
}

func TestWaitsForTheLockAsLongAsToldTo(t *testing.T) {
	directory := t.TempDir()
	if err := open(t, trop.DataDir(directory)).Close(); err != nil {
		t.Fatal(err)
	}
	release := lock(t, directory)
	for wait, told := range map[time.Duration]string{
		0:                     "waited 0s ",
		time.Nanosecond:       "waited 0.001s ",
		20 * time.Millisecond: "waited 0.02s ",
	} {
		registry, err := trop.Open(trop.DataDir(directory), trop.BusyTimeout(wait))
		if err != nil {
			t.Fatal(err)
		}
		defer registry.Close()
		start := time.Now()
		_, err = registry.Reserve(trop.Path("/p"))
		wantError(t, err, trop.ErrBusy, "")
		if time.Since(start) < wait || !strings.Contains(fmt.Sprint(err), told) {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	}
	release()
	if _, err := open(t, trop.DataDir(directory)).Reserve(trop.Path("/p")); err != nil {
		t.Error(err)
	}
}

// lock makes another process hold the write lock until the returned function is called.
func lock(t *testing.T, directory string) func() {
	t.Helper()
	holder := exec.Command("python3", lockHolder, filepath.Join(directory, "trop.db"))
	holder.Stderr = os.Stderr
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	release := sync.OnceFunc(func() {
		stdin.Close()
		holder.Wait()
	})
	t.Cleanup(release)
	if _, err := io.ReadFull(stdout, make([]byte, len("locked"))); err != nil {
		t.Fatal(err)
	}
	return release
}

func TestClosedAndMissingRegistries(t *testing.T) {
	registry := open(t)
	for range 2 {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, step := range map[string]struct {
		registry *trop.Registry
		code     trop.Code
		argument string
	}{
		"closed": {registry, trop.ErrClosed, ""},
		"nil":    {nil, trop.ErrInvalidArgument, "registry"},
		"zero":   {&trop.Registry{}, trop.ErrInvalidArgument, "registry"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, call := range everyCall(step.registry) {
				t.Run(name, func(t *testing.T) { wantError(t, call(), step.code, step.argument) })
			}
			if err := step.registry.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGoroutinesShareARegistry(t *testing.T) {
	registry := open(t, trop.SkipOccupancyCheck())
	const goroutines, each = 16, 10
	ports := make(chan int, goroutines*each)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range goroutines {
		group.Add(1)
		go func() {
			defer group.Done()
			<-start
			for j := range each {
				got, err := registry.Reserve(trop.Path("/p"), trop.Tag(fmt.Sprintf("%d-%d", i, j)))
				if err != nil {
					t.Error(err)
					continue
				}
				ports <- got.Port
			}
		}()
	}
	close(start)
	group.Wait()
	close(ports)
	seen := map[int]bool{}
	for port := range ports {
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		seen[port] = true
	}
	if list, err := registry.List(); err != nil || len(list) != goroutines*each {
		t.Errorf("%d reservations, %v", len(list), err)
	}
}

func TestClosingDuringCallsEndsThemWithErrClosed(t *testing.T) {
	registry := open(t, trop.SkipOccupancyCheck())
	var started, group sync.WaitGroup
	for i := range 8 {
		started.Add(1)
		group.Add(1)
		go func() {
			defer group.Done()
			path, once := trop.Path(fmt.Sprint("/p/", i)), sync.OnceFunc(started.Done)
			for {
				_, err := registry.Reserve(path)
				once()
				if err != nil {
					wantError(t, err, trop.ErrClosed, "")
					return
				}
			}
		}()
	}
	started.Wait()
	registry.Close()
	group.Wait()
}

var occupancyOptions = map[string]trop.OccupancyOption{
	"none":               nil,
	"SkipOccupancyCheck": trop.SkipOccupancyCheck(),
	"SkipTCP":            trop.SkipTCP(),
	"SkipUDP":            trop.SkipUDP(),
	"SkipIPv4":           trop.SkipIPv4(),
	"SkipIPv6":           trop.SkipIPv6(),
	"CheckAllInterfaces": trop.CheckAllInterfaces(),
	"CheckLoopbackOnly":  trop.CheckLoopbackOnly(),
}

// A server on any address is in the way of a lease, unless that is denied.
func TestLeasesLookAtAllAddresses(t *testing.T) {
	port := freePort(t)
	socket, err := bind("tcp4", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)))
	if err != nil {
		t.Skip(err)
	}
	defer socket.Close()
	registry := open(t, trop.Ports(port, port))
	if _, err := registry.Lease(); !errors.Is(err, trop.ErrExhausted) {
		t.Error(err)
	}
	lease, err := registry.Lease(trop.CheckLoopbackOnly())
	if err != nil {
		t.Fatal(err)
	}
	lease.Close()
	_, err = registry.Lease(trop.CheckLoopbackOnly(), trop.CheckAllInterfaces())
	if !errors.Is(err, trop.ErrInvalidArgument) {
		t.Error(err)
	}
}

// A socket is found by the probe of its own kind, and by no other.
func TestOptionsSwitchProbes(t *testing.T) {
	for _, held := range []struct{ network, host, missedWith string }{
		{"tcp4", "127.0.0.1", "SkipOccupancyCheck SkipTCP SkipIPv4"},
		{"udp4", "127.0.0.1", "SkipOccupancyCheck SkipUDP SkipIPv4"},
		{"tcp6", "::1", "SkipOccupancyCheck SkipTCP SkipIPv6"},
		{"udp6", "::1", "SkipOccupancyCheck SkipUDP SkipIPv6"},
		{"tcp4", "127.0.0.2", "none SkipOccupancyCheck SkipTCP SkipUDP SkipIPv4 SkipIPv6 CheckLoopbackOnly"},
	} {
		t.Run(held.network+" "+held.host, func(t *testing.T) {
			port := freePort(t)
			socket, err := bind(held.network, net.JoinHostPort(held.host, strconv.Itoa(port)))
			if err != nil {
				t.Skip(err)
			}
			defer socket.Close()
			for name, option := range occupancyOptions {
				_, err := open(t, trop.Ports(port, port), option).Reserve(trop.Path("/p"))
				missed := slices.Contains(strings.Fields(held.missedWith), name)
				if missed && err != nil || !missed && !errors.Is(err, trop.ErrExhausted) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// freePort is a port that nothing holds in any way.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		if _, err := open(t, trop.Ports(port, port)).Reserve(trop.Path("/p")); err == nil {
			return port
		}
	}
	t.Fatal("every port is held by something")
	return 0
}

func bind(network, address string) (io.Closer, error) {
	if strings.HasPrefix(network, "udp") {
		return net.ListenPacket(network, address)
	}
	return net.Listen(network, address)
}

func TestContendersForARangeGetEachPortOnce(t *testing.T) {
	directory := trop.DataDir(t.TempDir())
	var won, lost, ports sync.Map
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range 20 {
		registry, err := trop.Open(directory, trop.Ports(30000, 30010), trop.SkipOccupancyCheck())
		if err != nil {
			t.Fatal(err)
		}
		group.Add(1)
		go func() {
			defer group.Done()
			defer registry.Close()
			<-start
			got, err := registry.Reserve(trop.Path("/"), trop.Tag(strconv.Itoa(i)))
			if err != nil {
				wantError(t, err, trop.ErrExhausted, "")
				lost.Store(i, true)
				return
			}
			won.Store(i, true)
			ports.Store(got.Port, true)
		}()
	}
	close(start)
	group.Wait()
	if size(&won) != 11 || size(&lost) != 9 || size(&ports) != 11 {
		t.Errorf("%d won, %d lost, %d ports", size(&won), size(&lost), size(&ports))
	}
}

func size(m *sync.Map) (size int) {
	m.Range(func(any, any) bool { size++; return true })
	return size
}

func TestUnreachableRegistriesAreClosed(t *testing.T) {
	directory := t.TempDir()
	var beside [100]*uint64 // small values without pointers, which live on
	for i := range beside {
		if _, err := trop.Open(trop.DataDir(directory)); err != nil {
			t.Fatal(err)
		}
		beside[i] = new(uint64)
	}
	collectUntilClosed(t, directory)
	runtime.KeepAlive(beside)
}

func TestACopyIsTheSameRegistry(t *testing.T) {
	kept, dropped := t.TempDir(), t.TempDir()
	registry := func() trop.Registry {
		original, err := trop.Open(trop.DataDir(kept))
		if err != nil {
			t.Fatal(err)
		}
		return *original
	}()
	for range 2 { // after the second of them, everything that the first collection found has been dealt with
		if _, err := trop.Open(trop.DataDir(dropped)); err != nil {
			t.Fatal(err)
		}
		collectUntilClosed(t, dropped)
	}
	if openFiles(t, kept) == 0 {
		t.Fatal("closed with the original")
	}
	if _, err := registry.Reserve(trop.Path("/p")); err != nil {
		t.Error(err)
	}
	again := registry
	registry.Close()
	_, err := again.List()
	wantError(t, err, trop.ErrClosed, "")
}

// collectUntilClosed collects garbage until no file of the directory is open.
func collectUntilClosed(t *testing.T, directory string) {
	t.Helper()
	runtime.GC()
	for deadline := time.Now().Add(30 * time.Second); openFiles(t, directory) > 0; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are still open", openFiles(t, directory))
		}
	}
}

func openFiles(t *testing.T, directory string) (count int) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no list of open files")
	}
	for _, descriptor := range descriptors {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", descriptor.Name()))
		if err == nil && strings.HasPrefix(target, directory) {
			count++
		}
	}
	return count
}

func TestCodesAreThoseOfTheHeader(t *testing.T) {
	header, err := os.ReadFile("../../include/trop.h")
	if err != nil {
		t.Skip("not in the source tree")
	}
	found := regexp.MustCompile(`#define TROP_ERR_(\w+) (-\d+)`).FindAllStringSubmatch(string(header), -1)
	if len(found) < 17 {
		t.Errorf("only %d codes", len(found))
	}
	for _, code := range found {
		number, _ := strconv.Atoi(code[2])
		if name := trop.Code(number).Error(); name != "TROP_"+code[1] {
			t.Errorf("%s is called %s here", code[0], name)
		}
	}
	if trop.Code(-50).Error() != "trop error -50" {
		t.Error(trop.Code(-50))
	}
}
