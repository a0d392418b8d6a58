package trop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trop"
)

func lease(t *testing.T, r *trop.Registry, options ...trop.LeaseOption) *trop.Lease {
	t.Helper()
	return must[*trop.Lease](t)(r.Lease(options...))
}

func leases(t *testing.T, r *trop.Registry) []trop.LeaseInfo {
	t.Helper()
	return must[[]trop.LeaseInfo](t)(r.Leases())
}

func ports(leases []*trop.Lease) (ports []int) {
	for _, lease := range leases {
		ports = append(ports, lease.Port())
	}
	return ports
}

// probing opens a registry whose leases can really be bound.
func probing(t *testing.T) *trop.Registry {
	t.Helper()
	return open(t, trop.Ports(30200, 30999), trop.NoDiscovery(), trop.NoVariables())
}

func TestLeasesDifferAndComeBack(t *testing.T) {
	registry := plain(t)
	first, second := lease(t, registry), lease(t, registry, nil)
	if first.Port() != 30000 || second.Port() != 30001 || !first.IsOpen() || first.Label() != "" {
		t.Errorf("%d, %d", first.Port(), second.Port())
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if first.IsOpen() || !second.IsOpen() || first.Port() != 30000 {
		t.Error("closing one is not closing one")
	}
	again := lease(t, registry, trop.Port(30000))
	if again.Port() != 30000 || first.Close() != nil || !again.IsOpen() {
		t.Error("closing again ends the lease of somebody else")
	}
	registry.Close()
	if again.IsOpen() || again.Close() != nil {
		t.Error("open longer than its registry")
	}
	_, err := again.Listen("")
	wantError(t, err, trop.ErrClosed, "")
	_, err = first.ListenPacket("")
	wantError(t, err, trop.ErrClosed, "")
	wantError(t, first.WaitListening(0), trop.ErrClosed, "")
}

func TestOptionsOfALease(t *testing.T) {
	for name, step := range map[string]struct {
		options []trop.LeaseOption
		count   int
		ports   string
		label   string
	}{
		"none":       {nil, 3, "[30000 30001 30003]", ""},
		"Port":       {[]trop.LeaseOption{trop.Port(30005)}, 2, "[30005 30000]", ""},
		"taken Port": {[]trop.LeaseOption{trop.Port(30002)}, 1, "[30000]", ""},
		"Min":        {[]trop.LeaseOption{trop.Min(30004)}, 2, "[30004 30005]", ""},
		"Max":        {[]trop.LeaseOption{trop.Min(30009), trop.Max(30011)}, 3, "[30009 30010 30011]", ""},
		"Contiguous": {[]trop.LeaseOption{trop.Contiguous()}, 3, "[30003 30004 30005]", ""},
		"neighbours": {[]trop.LeaseOption{trop.Contiguous(), trop.Port(30006)}, 3, "[30006 30007 30008]", ""},
		"Label":      {[]trop.LeaseOption{trop.Label(" shop ")}, 1, "[30000]", "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := plain(t)
			taken := lease(t, registry, trop.Port(30002))
			defer taken.Close()
			got := must[[]*trop.Lease](t)(registry.LeaseMany(step.count, step.options...))
			if fmt.Sprint(ports(got)) != step.ports || got[0].Label() != step.label {
				t.Errorf("%v, %q", ports(got), got[0].Label())
			}
			for _, lease := range got {
				lease.Close()
			}
		})
	}
}

func TestHeldLeases(t *testing.T) {
	registry := probing(t)
	if runtime.GOOS != "linux" {
		_, err := registry.Lease(trop.Hold())
		wantError(t, err, trop.ErrUnsupported, "")
		return
	}
	held, plain := lease(t, registry, trop.Hold()), lease(t, registry)
	if err := bindWithoutReuse(held.Port()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	if err := bindWithoutReuse(plain.Port()); err != nil {
		t.Error(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(held.Port()))
	listener := must[net.Listener](t)(net.Listen("tcp", address))
	listener.Close()
	held.Close()
	if err := bindWithoutReuse(held.Port()); err != nil {
		t.Error(err)
	}
	plain.Close()
}

// bindWithoutReuse binds a port as servers do that do not set SO_REUSEADDR.
func bindWithoutReuse(port int) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	return syscall.Bind(socket, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func TestBadInputOfLeasesIsTypedAndChangesNothing(t *testing.T) {
	registry := plain(t, trop.Excluded("30003,30006"))
	long := strings.Repeat("x", 256)
	for name, step := range map[string]struct {
		count    int
		options  []trop.LeaseOption
		code     trop.Code
		argument string
	}{
		"count 0":        {0, nil, trop.ErrInvalidArgument, "count"},
		"count -1":       {-1, nil, trop.ErrInvalidArgument, "count"},
		"count 11":       {11, nil, trop.ErrInvalidArgument, "count"},
		"count 65536":    {65536, nil, trop.ErrInvalidArgument, "count"},
		"count 2^31":     {math.MaxInt32, nil, trop.ErrInvalidArgument, "count"},
		"count 2^63":     {math.MaxInt, nil, trop.ErrInvalidArgument, "count"},
		"more than free": {9, nil, trop.ErrExhausted, ""},
		"no neighbours":  {4, []trop.LeaseOption{trop.Contiguous()}, trop.ErrExhausted, ""},
		"empty label":    {1, []trop.LeaseOption{trop.Label("")}, trop.ErrInvalidArgument, "label"},
		"blank label":    {1, []trop.LeaseOption{trop.Label(" \t")}, trop.ErrInvalidArgument, "label"},
		"label with NUL": {1, []trop.LeaseOption{trop.Label("a\x00b")}, trop.ErrInvalidArgument, "label"},
		"label no UTF-8": {1, []trop.LeaseOption{trop.Label("\xff")}, trop.ErrInvalidArgument, "label"},
		"long label":     {1, []trop.LeaseOption{trop.Label(long)}, trop.ErrInvalidArgument, "label"},
		"port 0":         {1, []trop.LeaseOption{trop.Port(0)}, trop.ErrInvalidArgument, "port"},
		"port -1":        {1, []trop.LeaseOption{trop.Port(-1)}, trop.ErrInvalidArgument, "port"},
		"min 65536":      {1, []trop.LeaseOption{trop.Min(65536)}, trop.ErrInvalidArgument, "min"},
		"max -1":         {1, []trop.LeaseOption{trop.Max(-1)}, trop.ErrInvalidArgument, "max"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := registry.LeaseMany(step.count, step.options...)
			wantError(t, err, step.code, step.argument)
			if got != nil || len(leases(t, registry)) != 0 {
				t.Error("something was leased")
			}
		})
	}
	for _, port := range []int{0, -1, 65536, 1 << 32} {
		_, err := registry.Explain(port)
		wantError(t, err, trop.ErrInvalidArgument, "port")
	}
	lease := lease(t, registry)
	for _, host := range []string{"no such host", "127.0.0.1:80", "a\x00b", "\xff"} {
		_, err := lease.Listen(host)
		wantError(t, err, trop.ErrInvalidArgument, "host")
		_, err = lease.ListenPacket(host)
		wantError(t, err, trop.ErrInvalidArgument, "host")
	}
	_, err := lease.Listen("192.0.2.1")
	wantError(t, err, trop.ErrIO, "")
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Error(err)
	}
	wantError(t, lease.WaitListening(-1), trop.ErrInvalidArgument, "timeout")
	wantError(t, lease.WaitListening(math.MaxInt64), trop.ErrInvalidArgument, "timeout")
	if !lease.IsOpen() {
		t.Error("ended by a mistake")
	}
}

func TestMissingLeases(t *testing.T) {
	for _, missing := range []*trop.Lease{nil, {}} {
		if missing.Port() != 0 || missing.Label() != "" || missing.IsOpen() || missing.Close() != nil {
			t.Errorf("%+v", missing)
		}
		_, err := missing.Listen("")
		wantError(t, err, trop.ErrInvalidArgument, "lease")
		_, err = missing.ListenPacket("")
		wantError(t, err, trop.ErrInvalidArgument, "lease")
		wantError(t, missing.WaitListening(0), trop.ErrInvalidArgument, "lease")
	}
}

func TestListeningOnALease(t *testing.T) {
	lease := lease(t, probing(t))
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(lease.Port()))
	wantError(t, lease.WaitListening(0), trop.ErrNotListening, "")
	wantError(t, lease.WaitListening(20*time.Millisecond), trop.ErrNotListening, "")
	listener := must[net.Listener](t)(lease.Listen(""))
	defer listener.Close()
	if listener.Addr().String() != address {
		t.Error(listener.Addr())
	}
	if err := lease.WaitListening(10 * time.Second); err != nil {
		t.Error(err)
	}
	_, err := lease.Listen("localhost")
	wantError(t, err, trop.ErrIO, "")
	packets := must[net.PacketConn](t)(lease.ListenPacket("127.0.0.1"))
	defer packets.Close()
	if packets.LocalAddr().String() != address || packets.LocalAddr().Network() != "udp" {
		t.Error(packets.LocalAddr())
	}

	// Lease and listener are independent of each other.
	lease.Close()
	client := must[net.Conn](t)(net.Dial("tcp", address))
	defer client.Close()
	for { // WaitListening's own connections come first
		server := must[net.Conn](t)(listener.Accept())
		defer server.Close()
		if server.RemoteAddr().String() == client.LocalAddr().String() {
			break
		}
	}
}

const server = `import socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
sys.stdin.read()`

func TestWaitingForAServerThatWasStarted(t *testing.T) {
	lease := lease(t, probing(t))
	command := exec.Command("python3", "-c", server, strconv.Itoa(lease.Port()))
	input := must[io.WriteCloser](t)(command.StdinPipe())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := lease.WaitListening(time.Minute); err != nil {
		t.Error(err)
	}
	input.Close()
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	lease.Close()
}

func TestWhoHasALease(t *testing.T) {
	directory := trop.DataDir(t.TempDir())
	registry, other := plain(t, directory), plain(t, directory)
	lease := lease(t, registry, trop.Label("shop"))
	all, own := leases(t, other), must[[]trop.LeaseInfo](t)(registry.OwnLeases())
	if len(all) != 1 || len(own) != 1 || all[0] != own[0] {
		t.Fatalf("%+v, %+v", all, own)
	}
	got := all[0]
	if got.Port != lease.Port() || got.Label != "shop" || got.State != "alive" || got.PID != syscall.Getpid() ||
		got.Command == "" || got.Directory == "" ||
		time.Since(got.Since) > time.Hour || got.Since.Location() != time.UTC {
		t.Errorf("%+v", got)
	}
	if own := must[[]trop.LeaseInfo](t)(other.OwnLeases()); own == nil || len(own) != 0 {
		t.Errorf("%+v", own)
	}
	if found, err := other.FindPort(lease.Port()); err != nil || found != nil {
		t.Errorf("%+v, %v", found, err)
	}

	why := must[trop.Explanation](t)(other.Explain(lease.Port()))
	if why.Port != lease.Port() || why.Reservation != nil || why.Lease == nil || *why.Lease != got ||
		!why.InRange || why.Excluded || why.Occupied ||
		why.String() != why.Text || !strings.Contains(why.Text, "leased for 'shop'") {
		t.Errorf("%+v", why)
	}
	row := reserve(t, registry, trop.Path("/p"))
	why = must[trop.Explanation](t)(other.Explain(row.Port))
	if why.Lease != nil || why.Reservation == nil || *why.Reservation != withoutCall(row) {
		t.Errorf("%+v", why)
	}
	listener := must[net.Listener](t)(net.Listen("tcp4", "127.0.0.1:0"))
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	why = must[trop.Explanation](t)(open(t, trop.Ports(1, 1), trop.Excluded(strconv.Itoa(port))).Explain(port))
	if !why.Occupied || !why.Excluded || why.InRange ||
		runtime.GOOS == "linux" && why.ProcessID != syscall.Getpid() {
		t.Errorf("%+v", why)
	}

	_, err := other.ReleasePort(lease.Port())
	wantError(t, err, trop.ErrConflict, "port")
	if released, err := other.ReleasePort(lease.Port(), trop.Force()); err != nil || !released {
		t.Errorf("%v, %v", released, err)
	}
	if got := leases(t, other); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	runtime.KeepAlive(lease)
}

// collectUntilLogged collects garbage until there were so many lines in the log, and returns the log.
func collectUntilLogged(t *testing.T, lines int, take func()) string {
	t.Helper()
	var written lockedBuffer
	log.SetOutput(&written)
	defer log.SetOutput(os.Stderr)
	take()
	for deadline := time.Now().Add(30 * time.Second); written.count() < lines; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d lines:\n%s", written.count(), lines, written.String())
		}
	}
	return written.String()
}

type lockedBuffer struct {
	sync.Mutex
	strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Builder.Write(p)
}

func (b *lockedBuffer) count() int {
	b.Lock()
	defer b.Unlock()
	return strings.Count(b.Builder.String(), "\n")
}

func TestUnreachableLeasesGoOn(t *testing.T) {
	directory := trop.DataDir(t.TempDir())
	other := plain(t, directory)
	var kept *trop.Lease
	var copied trop.Lease
	var all []int
	logged := collectUntilLogged(t, 3, func() {
		registry := must[*trop.Registry](t)(trop.Open(directory, trop.Ports(30000, 30009), trop.SkipOccupancyCheck()))
		got := must[[]*trop.Lease](t)(registry.LeaseMany(6))
		all, kept, copied = ports(got), got[1], *got[3]
		got[5].Close()
	})
	for _, index := range []int{0, 2, 4} {
		line := fmt.Sprintf("trop: the lease of port %d was not closed", all[index])
		if !strings.Contains(logged, line) {
			t.Errorf("%s: %s", line, logged)
		}
	}
	list := leases(t, other)
	if len(list) != 5 || list[0].Port != all[0] || list[4].Port != all[4] || list[4].State != "alive" {
		t.Errorf("%+v", list)
	}
	if !kept.IsOpen() || !copied.IsOpen() || kept.Close() != nil || copied.Close() != nil {
		t.Error("ended with the registry")
	}
	if list := leases(t, other); len(list) != 3 {
		t.Errorf("%+v", list)
	}
}

func TestNumbersOutliveHandles(t *testing.T) {
	five := []trop.OpenOption{trop.DataDir(t.TempDir()), trop.Ports(30000, 30004), trop.SkipOccupancyCheck()}
	seen := map[int]bool{}
	collectUntilLogged(t, 2, func() {
		for i := range 5 {
			registry := must[*trop.Registry](t)(trop.Open(five...))
			if i%2 == 0 {
				seen[must[int](t)(registry.FreePort())] = true
			} else {
				seen[lease(t, registry).Port()] = true
			}
		}
	})
	if len(seen) != 5 {
		t.Error(seen)
	}
	registry := must[*trop.Registry](t)(trop.Open(five...))
	_, err := registry.FreePort()
	wantError(t, err, trop.ErrExhausted, "")
	_, err = registry.Lease()
	wantError(t, err, trop.ErrExhausted, "")
	_, err = registry.FreePort(trop.Min(0))
	wantError(t, err, trop.ErrInvalidArgument, "min")
	if bare := must[int](t)(registry.FreePort(trop.Port(30005), trop.Max(30005), trop.Label("bare"))); bare != 30005 {
		t.Error(bare)
	}
	if own := must[[]trop.LeaseInfo](t)(registry.OwnLeases()); len(own) != 1 || own[0].Label != "bare" {
		t.Errorf("%+v", own)
	}
	registry.Close()
	_, err = registry.FreePort()
	wantError(t, err, trop.ErrClosed, "")
	if list := leases(t, plain(t, five[0])); len(list) != 5 {
		t.Errorf("%+v", list)
	}
}

func TestTheOldestOfMoreThan256UnreachableLeasesEnd(t *testing.T) {
	registry := plain(t)
	bare := must[int](t)(registry.FreePort(trop.Port(30900), trop.Max(31999)))
	seen := map[int]bool{}
	collectUntilLogged(t, 300, func() {
		for count := range 300 {
			seen[lease(t, registry, trop.Max(31999)).Port()] = true
			if count%50 == 0 {
				runtime.GC()
			}
		}
	})
	own := must[[]trop.LeaseInfo](t)(registry.OwnLeases())
	if len(seen) != 300 || len(own) != 257 || own[256].Port != bare {
		t.Errorf("%d, %d", len(seen), len(own))
	}
}

func TestALeaseIsPrintedAsItsPort(t *testing.T) {
	taken := lease(t, plain(t), trop.Port(30007))
	defer taken.Close()
	for format, want := range map[string]string{
		"%v": "30007", "%+v": "30007", "%#v": "30007", "%s": "30007", "%q": `"30007"`, "%d": "30007",
		"%7d|": "  30007|", "%x": "7537", "%-7v|": "30007  |",
	} {
		if got := fmt.Sprintf(format, taken); got != want {
			t.Errorf("%s: %s", format, got)
		}
	}
	if taken.String() != "30007" || fmt.Sprintln(taken) != "30007\n" {
		t.Error(taken.String())
	}
}

func TestGoroutinesLeaseAndBind(t *testing.T) {
	registry := probing(t)
	var group sync.WaitGroup
	start := make(chan struct{})
	for range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			<-start
			for range 10 {
				lease, err := registry.Lease()
				if err != nil {
					t.Error(err)
					return
				}
				listener, err := lease.Listen("")
				if err != nil {
					t.Error(err)
					return
				}
				listener.Close()
				if err := lease.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	close(start)
	group.Wait()
	if list := leases(t, registry); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestLeaseTLastsAsLongAsTheTest(t *testing.T) {
	registry := plain(t, trop.Ports(30000, 30999))
	var active sync.Map
	t.Run("parallel", func(t *testing.T) {
		for i := range 20 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				lease := registry.LeaseT(t)
				if lease.Label() != t.Name() || !lease.IsOpen() {
					t.Errorf("%q", lease.Label())
				}
				if _, given := active.LoadOrStore(lease.Port(), true); given {
					t.Errorf("%d is given twice", lease.Port())
				}
				t.Cleanup(func() { active.Delete(lease.Port()) }) // before the lease ends
			})
		}
	})
	if list := leases(t, registry); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	t.Run("only its number is kept", func(t *testing.T) {
		port := registry.LeaseT(t).Port()
		for range 3 {
			runtime.GC()
		}
		if list := leases(t, registry); len(list) != 1 || list[0].Port != port || list[0].State != "alive" {
			t.Errorf("%+v", list)
		}
	})
	if list := leases(t, registry); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	lease := registry.LeaseT(t, trop.Label("another"), trop.Min(30107))
	if lease.Label() != "another" || lease.Port() != 30107 {
		t.Errorf("%q, %d", lease.Label(), lease.Port())
	}
}

// A fakeT records what LeaseT does to its test.
type fakeT struct {
	name, failure string
	cleanups      []func()
}

func (f *fakeT) Helper()          {}
func (f *fakeT) Name() string     { return f.name }
func (f *fakeT) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }
func (f *fakeT) Fatalf(format string, args ...any) {
	f.failure = fmt.Sprintf(format, args...)
}

func TestLeaseTFailsTheTestThatGetsNoPort(t *testing.T) {
	registry := plain(t)
	long := &fakeT{name: strings.Repeat("ä", 200)}
	lease := registry.LeaseT(long, trop.Max(30000))
	if lease.Label() != strings.Repeat("ä", 127) || long.failure != "" || len(long.cleanups) != 1 {
		t.Errorf("%q, %+v", lease.Label(), long)
	}
	unlucky := &fakeT{name: "TestUnlucky"}
	if got := registry.LeaseT(unlucky, trop.Max(30000)); got != nil || len(unlucky.cleanups) != 0 {
		t.Errorf("%+v", got)
	}
	if !strings.HasPrefix(unlucky.failure, "no port for TestUnlucky: trop: ") ||
		!strings.Contains(unlucky.failure, "exhausted") {
		t.Error(unlucky.failure)
	}
	long.cleanups[0]()
	if lease.IsOpen() || len(leases(t, registry)) != 0 {
		t.Error("open after the test")
	}
}

func TestPackageLevelLeases(t *testing.T) {
	data := t.TempDir()
	t.Setenv("TROP_DATA_DIR", data)
	t.Setenv("TROP_SKIP_OCCUPANCY_CHECK", "1")
	one := must[*trop.Lease](t)(trop.LeasePort(trop.Label("one")))
	two := must[[]*trop.Lease](t)(trop.LeaseMany(2))
	t.Run("test", func(t *testing.T) {
		if lease := trop.LeaseT(t); !lease.IsOpen() || lease.Label() != t.Name() {
			t.Errorf("%q", lease.Label())
		}
		if list := must[[]trop.LeaseInfo](t)(trop.OwnLeases()); len(list) != 4 {
			t.Errorf("%+v", list)
		}
	})
	list := leases(t, open(t, trop.DataDir(data)))
	all := must[[]trop.LeaseInfo](t)(trop.Leases())
	if len(all) != 3 || len(list) != 3 || list[0].Label != "one" {
		t.Errorf("%+v, %+v", all, list)
	}
	if why, err := trop.Explain(one.Port()); err != nil || why.Lease == nil || *why.Lease != list[0] {
		t.Errorf("%+v, %v", why, err)
	}
	for _, lease := range append(two, one) {
		if !lease.IsOpen() || lease.Close() != nil {
			t.Error("ended early")
		}
	}
}

func TestALeaseIsItsPortInEveryForm(t *testing.T) {
	registry := plain(t)
	plainly, labelled := lease(t, registry), lease(t, registry, trop.Label("shop"))
	port := strconv.Itoa(plainly.Port())
	copied := *plainly
	if got := fmt.Sprintf("%d %s %v %d %s %v", plainly, plainly, plainly, copied, copied, copied); got !=
		strings.Join([]string{port, port, port, port, port, port}, " ") {
		t.Error(got)
	}
	for lease, expected := range map[*trop.Lease]string{
		plainly:  fmt.Sprintf(`{"port":%d,"label":null}`, plainly.Port()),
		labelled: fmt.Sprintf(`{"port":%d,"label":"shop"}`, labelled.Port()),
	} {
		if got, err := json.Marshal(lease); err != nil || string(got) != expected {
			t.Errorf("%s, %v", got, err)
		}
	}
}
