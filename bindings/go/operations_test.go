package trop_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"trop"
)

// plain opens a registry that ignores the sockets and the configuration of this machine.
func plain(t *testing.T, options ...trop.OpenOption) *trop.Registry {
	t.Helper()
	return open(t, append([]trop.OpenOption{
		trop.Ports(30000, 30009), trop.SkipOccupancyCheck(), trop.NoDiscovery(), trop.NoVariables(),
	}, options...)...)
}

func everyCall(r *trop.Registry) map[string]func() error {
	return map[string]func() error{
		"Reserve":          func() error { _, err := r.Reserve(); return err },
		"Release":          func() error { _, err := r.Release(); return err },
		"ReleasePort":      func() error { _, err := r.ReleasePort(30000); return err },
		"Find":             func() error { _, err := r.Find(); return err },
		"FindPort":         func() error { _, err := r.FindPort(30000); return err },
		"List":             func() error { _, err := r.List(); return err },
		"Projects":         func() error { _, err := r.Projects(); return err },
		"ReserveGroup":     func() error { _, err := r.ReserveGroup(); return err },
		"Prune":            func() error { _, err := r.Prune(); return err },
		"Expire":           func() error { _, err := r.Expire(); return err },
		"Autoclean":        func() error { _, err := r.Autoclean(); return err },
		"Migrate":          func() error { _, err := r.Migrate("/a", "/b"); return err },
		"Scan":             func() error { _, err := r.Scan(); return err },
		"ValidateDatabase": func() error { return r.ValidateDatabase() },
		"Lease":            func() error { _, err := r.Lease(); return err },
		"LeaseMany":        func() error { _, err := r.LeaseMany(2); return err },
		"Leases":           func() error { _, err := r.Leases(); return err },
		"OwnLeases":        func() error { _, err := r.OwnLeases(); return err },
		"Explain":          func() error { _, err := r.Explain(30000); return err },
		"a dry run":        func() error { _, err := r.Reserve(trop.DryRun()); return err },
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func reserve(t *testing.T, r *trop.Registry, options ...trop.ReserveOption) trop.Reservation {
	t.Helper()
	return must[trop.Reservation](t)(r.Reserve(options...))
}

func count(t *testing.T, r *trop.Registry) int {
	t.Helper()
	return len(must[[]trop.Reservation](t)(r.List()))
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOptionsChooseTheConfiguration(t *testing.T) {
	directory := t.TempDir()
	write(t, filepath.Join(directory, "here/trop.yaml"), "ports: { min: 30100, max: 30109 }\n")
	write(t, filepath.Join(directory, "there/trop.yaml"), "ports: { min: 30200, max: 30209 }\n")
	other := write(t, filepath.Join(directory, "there/other.yaml"), "ports: { min: 30300, max: 30309 }\n")
	here := trop.StartDir(filepath.Join(directory, "here"))
	there := trop.StartDir(filepath.Join(directory, "there"))
	t.Setenv("TROP_PORT_MAX", "30400")
	t.Setenv("TROP_PORT_MIN", "") // restored at the end
	os.Unsetenv("TROP_PORT_MIN")
	for name, step := range map[string]struct {
		options []trop.OpenOption
		port    int
	}{
		"StartDir here":  {[]trop.OpenOption{here, trop.NoVariables()}, 30100},
		"StartDir there": {[]trop.OpenOption{there}, 30200},
		"ConfigFile":     {[]trop.OpenOption{trop.ConfigFile(other)}, 30300},
		"NoDiscovery":    {[]trop.OpenOption{trop.NoDiscovery()}, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			registry := open(t, append(step.options, trop.SkipOccupancyCheck())...)
			if got := reserve(t, registry, trop.Path("/p")); got.Port != step.port {
				t.Errorf("%+v instead of %d", got, step.port)
			}
		})
	}
	t.Run("NoVariables", func(t *testing.T) {
		t.Setenv("TROP_PORT_MIN", "30105")
		if got := reserve(t, open(t, here, trop.SkipOccupancyCheck()), trop.Path("/p")); got.Port != 30105 {
			t.Errorf("%+v", got)
		}
		registry := open(t, here, trop.SkipOccupancyCheck(), trop.NoVariables())
		if got := reserve(t, registry, trop.Path("/p")); got.Port != 30100 {
			t.Errorf("%+v", got)
		}
	})
	for _, options := range [][]trop.OpenOption{
		{here, trop.ConfigFile(other)},
		{here, trop.NoDiscovery()},
		{trop.NoDiscovery(), trop.ConfigFile(other)},
	} {
		_, err := trop.Open(append(options, trop.DataDir(t.TempDir()))...)
		if !errors.Is(err, trop.ErrInvalidArgument) {
			t.Errorf("%v", err)
		}
	}
}

func TestProjectsAndTasksAreSticky(t *testing.T) {
	registry := plain(t)
	path := trop.Path("/p")
	for i, step := range []struct {
		options       []trop.ReserveOption
		project, task string
		sticky        string
	}{
		{[]trop.ReserveOption{trop.Project(" shop "), trop.Task("sale")}, "shop", "sale", ""},
		{[]trop.ReserveOption{trop.Project("store")}, "", "", "project"},
		{[]trop.ReserveOption{trop.Project("store"), trop.AllowTaskChange()}, "", "", "project"},
		{[]trop.ReserveOption{trop.Project("store"), trop.AllowProjectChange()}, "store", "sale", ""},
		{[]trop.ReserveOption{trop.Task("bargain"), trop.AllowProjectChange()}, "", "", "task"},
		{[]trop.ReserveOption{trop.Task("bargain"), trop.AllowTaskChange()}, "store", "bargain", ""},
		{[]trop.ReserveOption{trop.ClearProject()}, "", "", "project"},
		{[]trop.ReserveOption{trop.ClearProject(), trop.AllowProjectChange()}, "", "bargain", ""},
		{[]trop.ReserveOption{trop.ClearTask(), trop.AllowTaskChange()}, "", "", ""},
		{[]trop.ReserveOption{trop.Project("shop"), trop.Task("sale"), trop.Force()}, "shop", "sale", ""},
		{nil, "shop", "sale", ""},
	} {
		got, err := registry.Reserve(append(step.options, path)...)
		if step.sticky != "" {
			wantError(t, err, trop.ErrStickyField, step.sticky)
		} else if err != nil || got.Project != step.project || got.Task != step.task {
			t.Errorf("%d: %+v, %v", i, got, err)
		}
	}
	_, err := registry.Reserve(path, trop.Project("shop"), trop.ClearProject())
	wantError(t, err, trop.ErrInvalidArgument, "clear_project")
	_, err = registry.Reserve(path, trop.Task("sale"), trop.ClearTask())
	wantError(t, err, trop.ErrInvalidArgument, "clear_task")
}

func TestPermissionsForThePreferredPort(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	occupied := listener.Addr().(*net.TCPAddr).Port
	registry := open(t, trop.Ports(30000, 31999), trop.Excluded("30007"), trop.NoDiscovery(), trop.NoVariables())
	old := reserve(t, registry, trop.Path("/old"))
	unprobed := trop.SkipOccupancyCheck() // whatever this machine listens on
	for name, step := range map[string]struct {
		options []trop.ReserveOption
		port    int
		refusal string
	}{
		"excluded":         {[]trop.ReserveOption{trop.Port(30007), unprobed}, 0, "excluded"},
		"IgnoreExclusions": {[]trop.ReserveOption{trop.Port(30007), unprobed, trop.IgnoreExclusions()}, 30007, ""},
		"occupied":         {[]trop.ReserveOption{trop.Port(occupied)}, 0, "occupied"},
		"IgnoreOccupied":   {[]trop.ReserveOption{trop.Port(occupied), trop.IgnoreOccupied()}, occupied, ""},
		"Force":            {[]trop.ReserveOption{trop.Port(occupied), trop.Force()}, occupied, ""},
		"a key has a port": {[]trop.ReserveOption{trop.Path("/old"), trop.Port(30008), unprobed}, old.Port, ""},
		"Overwrite": {
			[]trop.ReserveOption{trop.Path("/old"), trop.Port(30008), unprobed, trop.Overwrite()}, 30008, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := append([]trop.ReserveOption{trop.Path("/new"), trop.Min(1024), trop.Max(65535), trop.DryRun()},
				step.options...)
			got := reserve(t, registry, options...)
			if step.port != 0 && got.Port != step.port || got.Refusal != step.refusal {
				t.Errorf("%+v", got)
			}
		})
	}
	still := must[*trop.Reservation](t)(registry.Find(trop.Path("/old")))
	if count(t, registry) != 1 || *still != withoutCall(old) {
		t.Error("a dry run changed something")
	}
}

// withoutCall returns the reservation as calls other than Reserve return it.
func withoutCall(r trop.Reservation) trop.Reservation {
	r.Created, r.Refusal, r.Cleanup = false, "", nil
	return r
}

func TestOccupancyOptionsOfACall(t *testing.T) {
	for _, held := range []struct{ network, host, missedWith string }{
		{"tcp4", "127.0.0.1", "SkipOccupancyCheck SkipTCP SkipIPv4"},
		{"udp4", "127.0.0.1", "SkipOccupancyCheck SkipUDP SkipIPv4"},
		{"tcp6", "::1", "SkipOccupancyCheck SkipTCP SkipIPv6"},
		{"tcp4", "127.0.0.2", "none SkipOccupancyCheck SkipTCP SkipUDP SkipIPv4 SkipIPv6 CheckLoopbackOnly"},
	} {
		// Leases look at all addresses by default.
		missedByLease := held.missedWith
		if held.host == "127.0.0.2" {
			missedByLease = "SkipOccupancyCheck SkipTCP SkipIPv4 CheckLoopbackOnly"
		}
		t.Run(held.network+" "+held.host, func(t *testing.T) {
			port := freePort(t)
			socket, err := bind(held.network, net.JoinHostPort(held.host, strconv.Itoa(port)))
			if err != nil {
				t.Skip(err)
			}
			defer socket.Close()
			group := write(t, filepath.Join(t.TempDir(), "group.yaml"), "reservations: { services: { web: {} } }\n")
			for name, option := range occupancyOptions {
				registry := open(t, trop.Ports(port, port), trop.NoDiscovery(), trop.NoVariables())
				_, err := registry.Reserve(trop.Path("/p"), trop.DryRun(), option)
				_, groupErr := registry.ReserveGroup(trop.File(group), trop.DryRun(), option)
				lease, leaseErr := registry.Lease(option)
				lease.Close()
				for _, asked := range []struct {
					missedWith string
					err        error
				}{{held.missedWith, err}, {held.missedWith, groupErr}, {missedByLease, leaseErr}} {
					missed := slices.Contains(strings.Fields(asked.missedWith), name)
					if missed && asked.err != nil || !missed && !errors.Is(asked.err, trop.ErrExhausted) {
						t.Errorf("%s: %v", name, asked.err)
					}
				}
			}
		})
	}
}

func TestForcedAndGroupedPathsMeetTheGuard(t *testing.T) {
	registry := plain(t)
	group := write(t, filepath.Join(t.TempDir(), "group.yaml"), "reservations: { services: { web: {} } }\n")
	path, refuse := trop.Path("/unrelated"), trop.RefuseUnrelatedPath()
	_, err := registry.ReserveGroup(trop.File(group), refuse)
	wantError(t, err, trop.ErrUnrelatedPath, "path")
	if count(t, registry) != 0 {
		t.Error("something was reserved")
	}
	if _, err := registry.Reserve(path, refuse, trop.Force()); err != nil {
		t.Error(err)
	}
}

func TestExhaustedRangesAreCleanedUp(t *testing.T) {
	directory := t.TempDir()
	registry := plain(t, trop.DataDir(directory), trop.Ports(30000, 30001))
	gone, here := filepath.Join(directory, "gone"), trop.Path(directory)
	reserve(t, registry, trop.Path(gone))
	reserve(t, registry, here, trop.Tag("old"))
	setTimes(t, directory, "created_at = 1000000000, last_used_at = 1000000000 WHERE tag = 'old'")

	_, err := registry.Reserve(here, trop.Tag("a"), trop.DisableAutoprune(), trop.DisableAutoexpire())
	wantError(t, err, trop.ErrExhausted, "")
	for name, step := range map[string]struct {
		option          trop.ReserveOption
		pruned, expired int
	}{
		"DisableAutoexpire": {trop.DisableAutoexpire(), 1, 0},
		"DisableAutoprune":  {trop.DisableAutoprune(), 0, 1},
		"both":              {nil, 1, 1},
	} {
		got := reserve(t, registry, here, trop.Tag("a"), trop.DryRun(), step.option)
		if got.Cleanup == nil || len(got.Cleanup.Pruned) != step.pruned ||
			len(got.Cleanup.Expired) != step.expired {
			t.Errorf("%s: %+v", name, got.Cleanup)
		}
	}
	got := reserve(t, registry, here, trop.Tag("a"))
	if got.Cleanup == nil || got.Cleanup.Pruned[0].Path != gone || got.Cleanup.Expired[0].Tag != "old" {
		t.Errorf("%+v", got.Cleanup)
	}
	if got := reserve(t, registry, here, trop.Tag("b")); got.Cleanup != nil {
		t.Errorf("%+v", got.Cleanup)
	}
}

func TestReleasingBelowAPathAndByPort(t *testing.T) {
	registry := plain(t)
	web, path := trop.Tag("web"), trop.Path("/r")
	for _, options := range [][]trop.ReserveOption{
		{path}, {path, web}, {trop.Path("/r/below"), web}, {trop.Path("/rest")},
	} {
		reserve(t, registry, options...)
	}
	for i, step := range []struct {
		options     []trop.ReleaseOption
		count, left int
	}{
		{[]trop.ReleaseOption{path, trop.Recursive(), trop.DryRun()}, 3, 4},
		{[]trop.ReleaseOption{path, trop.DryRun()}, 2, 4},
		{[]trop.ReleaseOption{path, web, trop.Recursive()}, 2, 2},
		{[]trop.ReleaseOption{path, trop.Recursive()}, 1, 1},
	} {
		got, err := registry.Release(step.options...)
		if err != nil || got != step.count || count(t, registry) != step.left {
			t.Errorf("%d: %d, %v, %d left", i, got, err, count(t, registry))
		}
	}
	rest := must[*trop.Reservation](t)(registry.Find(trop.Path("/rest")))
	for i, step := range []struct {
		port     int
		options  []trop.ReleasePortOption
		released bool
		left     int
	}{
		{30009, nil, false, 1},
		{rest.Port, []trop.ReleasePortOption{trop.DryRun()}, true, 1},
		{rest.Port, []trop.ReleasePortOption{nil}, true, 0},
		{rest.Port, nil, false, 0},
	} {
		released, err := registry.ReleasePort(step.port, step.options...)
		if err != nil || released != step.released || count(t, registry) != step.left {
			t.Errorf("%d: %v, %v", i, released, err)
		}
	}
}

func TestLookingUp(t *testing.T) {
	registry := plain(t)
	web, path := trop.Tag("web"), trop.Path("/l")
	first := reserve(t, registry, path, web, trop.Project("shop"), trop.Task("sale"))
	below := reserve(t, registry, trop.Path("/l/below"), trop.Project("shop"))
	other := reserve(t, registry, trop.Path("/lower"), web, trop.Project("attic"))

	for name, step := range map[string]struct {
		options []trop.FindOption
		found   *trop.Reservation
	}{
		"key":         {[]trop.FindOption{path, web}, &first},
		"other form":  {[]trop.FindOption{trop.Path("/l/./"), trop.Tag(" web "), nil}, &first},
		"no tag":      {[]trop.FindOption{path}, nil},
		"other path":  {[]trop.FindOption{trop.Path("/"), web}, nil},
		"working dir": {nil, nil},
	} {
		found, err := registry.Find(step.options...)
		if err != nil || (found == nil) != (step.found == nil) ||
			found != nil && *found != withoutCall(*step.found) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	if found, err := registry.FindPort(below.Port); err != nil || *found != withoutCall(below) {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := registry.FindPort(30009); err != nil || found != nil {
		t.Errorf("%+v, %v", found, err)
	}

	for name, step := range map[string]struct {
		options []trop.ListOption
		ports   []int
	}{
		"all":         {nil, []int{first.Port, below.Port, other.Port}},
		"project":     {[]trop.ListOption{trop.Project("shop")}, []int{first.Port, below.Port}},
		"tag":         {[]trop.ListOption{web}, []int{first.Port, other.Port}},
		"path":        {[]trop.ListOption{path, nil}, []int{first.Port, below.Port}},
		"all of them": {[]trop.ListOption{path, web, trop.Project("shop")}, []int{first.Port}},
		"nothing":     {[]trop.ListOption{trop.Project("none")}, nil},
	} {
		list, err := registry.List(step.options...)
		var ports []int
		for _, reservation := range list {
			ports = append(ports, reservation.Port)
		}
		if err != nil || list == nil || !slices.Equal(ports, step.ports) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	if projects, err := registry.Projects(); err != nil || !slices.Equal(projects, []string{"attic", "shop"}) {
		t.Errorf("%v, %v", projects, err)
	}
	if projects, err := plain(t).Projects(); err != nil || projects == nil || len(projects) != 0 {
		t.Errorf("%v, %v", projects, err)
	}
}

func TestCleaningUp(t *testing.T) {
	directory := t.TempDir()
	registry := plain(t, trop.DataDir(directory))
	gone := trop.Path(filepath.Join(directory, "gone"))
	reserve(t, registry, gone)
	reserve(t, registry, gone, trop.Tag("old"))
	reserve(t, registry, trop.Path(directory))
	reserve(t, registry, trop.Path(directory), trop.Tag("old"))
	setTimes(t, directory,
		"created_at = created_at - 864010, last_used_at = last_used_at - 864010 WHERE tag = 'old'")

	for i, step := range []struct {
		call                  func() (trop.Cleanup, error)
		pruned, expired, days int
		left                  int
	}{
		{func() (trop.Cleanup, error) { return registry.Prune(trop.DryRun(), nil) }, 2, 0, 30, 4},
		{func() (trop.Cleanup, error) { return registry.Expire(trop.Days(10), trop.DryRun()) }, 0, 2, 10, 4},
		{func() (trop.Cleanup, error) { return registry.Expire(nil) }, 0, 0, 30, 4},
		{func() (trop.Cleanup, error) { return registry.Autoclean(trop.DryRun(), trop.Days(10)) }, 2, 1, 10, 4},
		{func() (trop.Cleanup, error) { return registry.Autoclean(trop.DryRun()) }, 2, 0, 30, 4},
		{func() (trop.Cleanup, error) { return registry.Prune() }, 2, 0, 30, 2},
		{func() (trop.Cleanup, error) { return registry.Expire(trop.Days(11)) }, 0, 0, 11, 2},
		{func() (trop.Cleanup, error) { return registry.Expire(trop.Days(math.MaxInt32)) }, 0, 0, math.MaxInt32, 2},
		{func() (trop.Cleanup, error) { return registry.Autoclean(trop.Days(10)) }, 0, 1, 10, 1},
	} {
		got, err := step.call()
		if err != nil || len(got.Pruned) != step.pruned || len(got.Expired) != step.expired ||
			got.Days != step.days || len(got.Preserved) != 0 || count(t, registry) != step.left {
			t.Errorf("%d: %+v, %v, %d left", i, got, err, count(t, registry))
		}
	}
	for _, days := range []int{0, -1, 1 << 40} {
		_, err := registry.Expire(trop.Days(days))
		wantError(t, err, trop.ErrInvalidArgument, "days")
		_, err = registry.Autoclean(trop.Days(days))
		wantError(t, err, trop.ErrInvalidArgument, "days")
	}
}

// A path that is a loop of links does not count as a missing directory.
func TestPathsThatCannotBeInspectedAreTold(t *testing.T) {
	directory := t.TempDir()
	registry := plain(t, trop.DataDir(directory))
	loop := filepath.Join(directory, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	reserve(t, registry, trop.Path(loop))
	got, err := registry.Prune()
	if err != nil || !reflect.DeepEqual(got.Preserved, []trop.Preserved{{Path: loop, Cause: "symlink loop"}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// setTimes changes rows from another process, because this one may not open the file with another SQLite.
func setTimes(t *testing.T, directory, times string) {
	t.Helper()
	const script = `import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("UPDATE reservations SET " + sys.argv[2])`
	update := exec.Command("python3", "-c", script, filepath.Join(directory, "trop.db"), times)
	if output, err := update.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

func TestMigrating(t *testing.T) {
	registry := plain(t)
	first := reserve(t, registry, trop.Path("/m"), trop.Project("shop"))
	below := reserve(t, registry, trop.Path("/m/below"), trop.Tag("web"))

	want := trop.Migration{
		From: "/m", To: "/n",
		Moves:     []trop.Move{{Reservation: withoutCall(first), To: "/n"}},
		Conflicts: []trop.Reservation{},
	}
	for _, options := range [][]trop.MigrateOption{{trop.DryRun()}, {nil}} {
		got, err := registry.Migrate("/m/.", "/n", options...)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if found, err := registry.FindPort(first.Port); err != nil || found.Path != "/n" || found.Project != "shop" {
		t.Errorf("%+v, %v", found, err)
	}
	_, err := registry.Migrate("/m", "/n")
	wantError(t, err, trop.ErrNotFound, "")
	if got, err := registry.Migrate("/m", "/n", trop.Recursive()); err != nil || len(got.Moves) != 1 ||
		got.Moves[0].Port != below.Port || got.Moves[0].To != "/n/below" {
		t.Errorf("%+v, %v", got, err)
	}
	reserve(t, registry, trop.Path("/m"))
	_, err = registry.Migrate("/m", "/n")
	wantError(t, err, trop.ErrConflict, "")
	if got, err := registry.Migrate("/m", "/n", trop.Force()); err != nil || len(got.Conflicts) != 1 ||
		got.Conflicts[0].Port != first.Port {
		t.Errorf("%+v, %v", got, err)
	}
	for _, paths := range [][2]string{{"", "/n"}, {"/a\x00b", "/n"}, {"/\xff", "/n"}} {
		_, err := registry.Migrate(paths[0], paths[1])
		wantError(t, err, trop.ErrInvalidArgument, "from")
		_, err = registry.Migrate(paths[1], paths[0])
		wantError(t, err, trop.ErrInvalidArgument, "to")
	}
}

func TestScanning(t *testing.T) {
	port := freePort(t)
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	registry := open(t, trop.Ports(port, port), trop.NoDiscovery(), trop.NoVariables())
	want := trop.Finding{
		Port: port, Status: "occupied",
		Protocol: "tcp", AddressFamily: "ipv4", Scope: "localhost", Address: "127.0.0.1",
	}
	findings, err := registry.Scan()
	if err != nil || len(findings) != 1 {
		t.Fatalf("%+v, %v", findings, err)
	}
	got := findings[0]
	if got.OwnerStatus == "" || got.ProcessID != 0 && got.ProcessID != os.Getpid() {
		t.Errorf("%+v", got)
	}
	got.ProcessID, got.ProcessName, got.User, got.OwnerStatus = 0, "", "", ""
	if got != want {
		t.Errorf("%+v", got)
	}
	reserve(t, registry, trop.Path("/p"), trop.Port(port), trop.IgnoreOccupied())
	findings, err = registry.Scan(trop.Min(port), trop.Max(port), nil)
	if err != nil || len(findings) != 1 || !findings[0].Reserved || findings[0].Status != "occupied (reserved)" {
		t.Errorf("%+v, %v", findings, err)
	}
	if findings, err := registry.Scan(trop.Min(1), trop.Max(1)); err != nil || findings == nil ||
		slices.ContainsFunc(findings, func(f trop.Finding) bool { return f.Port == port }) {
		t.Errorf("%+v, %v", findings, err)
	}
	_, err = registry.Scan(trop.Min(port + 1))
	wantError(t, err, trop.ErrConfig, "ports")
	_, err = registry.Scan(trop.Min(0))
	wantError(t, err, trop.ErrInvalidArgument, "min")
	_, err = registry.Scan(trop.Max(70000))
	wantError(t, err, trop.ErrInvalidArgument, "max")
}

const services = `project: shop
ports: { min: 30000, max: 30009 }
reservations:
  base: 30002
  services:
    web: { offset: 0, env: WEB }
    api: { offset: 1, env: A_PI }
`

func TestGroups(t *testing.T) {
	directory := t.TempDir()
	file := trop.File(write(t, filepath.Join(directory, "trop.yaml"), services))
	registry := plain(t)
	byTag := map[string]int{"web": 30002, "api": 30003}
	check := func(want map[string]int, options ...trop.GroupOption) {
		t.Helper()
		if ports, err := registry.ReserveGroup(options...); err != nil || !maps.Equal(ports, want) {
			t.Errorf("%v, %v", ports, err)
		}
	}
	_, err := registry.ReserveGroup()
	wantError(t, err, trop.ErrNotFound, "")
	check(byTag, file, trop.DryRun())
	if count(t, registry) != 0 {
		t.Error("a dry run reserved something")
	}
	check(byTag, file, trop.Task("sale"), nil)
	check(map[string]int{"WEB": 30002, "A_PI": 30003}, file, trop.ByVariable())
	found := must[*trop.Reservation](t)(registry.Find(trop.Path(directory), trop.Tag("web")))
	if found.Project != "shop" || found.Task != "sale" || found.Port != 30002 {
		t.Errorf("%+v", found)
	}

	_, err = registry.ReserveGroup(file, trop.Task("bargain"), trop.AllowProjectChange())
	wantError(t, err, trop.ErrStickyField, "task")
	check(byTag, file, trop.Task("bargain"), trop.AllowTaskChange())
	write(t, filepath.Join(directory, "trop.local.yaml"), "project: store\n")
	_, err = registry.ReserveGroup(file, trop.AllowTaskChange())
	wantError(t, err, trop.ErrStickyField, "project")
	check(byTag, file, trop.AllowProjectChange())

	reserve(t, registry, trop.Path(directory), trop.Tag("another"))
	_, err = registry.ReserveGroup(file)
	wantError(t, err, trop.ErrConflict, "")
	check(byTag, file, trop.Force(), trop.Task("clear"))
	if count(t, registry) != 2 {
		t.Error("what was replaced is still there")
	}
	_, err = registry.ReserveGroup(trop.File("a\x00b"))
	wantError(t, err, trop.ErrInvalidArgument, "file")

	registry = open(t, trop.StartDir(directory), trop.SkipOccupancyCheck())
	check(byTag)
}

func TestAGroupIsWhatTheCommandPrints(t *testing.T) {
	command, err := filepath.Abs("../../target/release/trop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(command); err != nil {
		t.Skip("the command is not built")
	}
	data, directory := t.TempDir(), t.TempDir()
	write(t, filepath.Join(directory, "trop.yaml"), services)
	registry := open(t, trop.DataDir(data), trop.StartDir(directory))
	ports := must[map[string]int](t)(registry.ReserveGroup())
	run := exec.Command(command, "--data-dir", data, "autoreserve", "--format", "json")
	run.Dir = directory
	run.Stderr = os.Stderr
	output, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	var printed map[string]int
	if err := json.Unmarshal(output, &printed); err != nil || !maps.Equal(printed, ports) || len(ports) != 2 {
		t.Errorf("%v printed, %v returned, %v", printed, ports, err)
	}
}

func TestGoroutinesGetOneGroup(t *testing.T) {
	file := trop.File(write(t, filepath.Join(t.TempDir(), "trop.yaml"), services))
	registry := plain(t)
	start := make(chan struct{})
	var group sync.WaitGroup
	results := make([]map[string]int, 16)
	for i := range results {
		group.Add(1)
		go func() {
			defer group.Done()
			<-start
			ports, err := registry.ReserveGroup(file)
			if err != nil {
				t.Error(err)
			}
			results[i] = ports
		}()
	}
	close(start)
	group.Wait()
	for _, ports := range results {
		if !maps.Equal(ports, results[0]) {
			t.Errorf("%v and %v", ports, results[0])
		}
	}
	if count(t, registry) != 2 {
		t.Error("more than one group")
	}
}

func TestValidating(t *testing.T) {
	directory := t.TempDir()
	sound := write(t, filepath.Join(directory, "sound.yaml"), "ports: { min: 30000, max: 30009 }\n")
	if problems, err := trop.ValidateConfig(sound); err != nil || problems == nil || len(problems) != 0 {
		t.Errorf("%+v, %v", problems, err)
	}
	unsound := write(t, filepath.Join(directory, "unsound.yaml"), "ports:\n  min: 0\ncolour: red\n")
	problems, err := trop.ValidateConfig(unsound)
	if err != nil || len(problems) != 2 {
		t.Fatalf("%+v, %v", problems, err)
	}
	if got := problems[0]; got.Path != unsound || got.Line != 2 || got.Field != "ports.min" || got.Reason == "" {
		t.Errorf("%+v", got)
	}
	_, err = trop.ValidateConfig(filepath.Join(directory, "missing.yaml"))
	wantError(t, err, trop.ErrInvalidArgument, "file")
	_, err = trop.ValidateConfig("a\x00b")
	wantError(t, err, trop.ErrInvalidArgument, "file")

	data := t.TempDir()
	registry := plain(t, trop.DataDir(data))
	if err := registry.ValidateDatabase(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(data, "trop.db")); err != nil {
		t.Fatal(err)
	}
	wantError(t, registry.ValidateDatabase(), trop.ErrCorrupt, "data_dir")
}

// Each call uses the one registry of TROP_DATA_DIR, in another working directory too.
func TestEveryPackageLevelCall(t *testing.T) {
	directory, data := t.TempDir(), t.TempDir()
	t.Setenv("TROP_DATA_DIR", data)
	before := must[string](t)(os.Getwd())
	if err := os.Chdir(directory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chdir(before) })
	directory = must[string](t)(os.Getwd())
	write(t, "trop.yaml", services)
	registry := open(t, trop.DataDir(data))

	ports := must[map[string]int](t)(trop.ReserveGroup(trop.SkipOccupancyCheck()))
	if !maps.Equal(ports, map[string]int{"web": 30002, "api": 30003}) || count(t, registry) != 2 {
		t.Errorf("%v", ports)
	}
	if found, err := trop.Find(trop.Tag("web")); err != nil || found == nil || found.Port != 30002 {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := trop.FindPort(30003); err != nil || found == nil || found.Tag != "api" {
		t.Errorf("%+v, %v", found, err)
	}
	if list, err := trop.List(trop.Tag("api")); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if projects, err := trop.Projects(); err != nil || !slices.Equal(projects, []string{"shop"}) {
		t.Errorf("%v, %v", projects, err)
	}
	if got, err := trop.Migrate(directory, "/gone"); err != nil || len(got.Moves) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := trop.Expire(trop.DryRun()); err != nil || len(got.Expired) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := trop.Autoclean(trop.DryRun()); err != nil || len(got.Pruned) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if released, err := trop.ReleasePort(30003); err != nil || !released {
		t.Errorf("%v, %v", released, err)
	}
	if got, err := trop.Prune(); err != nil || len(got.Pruned) != 1 || count(t, registry) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if findings, err := trop.Scan(trop.Min(1), trop.Max(1)); err != nil || findings == nil {
		t.Errorf("%+v, %v", findings, err)
	}
	if err := trop.ValidateDatabase(); err != nil {
		t.Error(err)
	}
	if _, err := trop.Reserve(trop.Tag("web"), trop.DryRun()); err != nil || count(t, registry) != 0 {
		t.Error(err)
	}
	if count, err := trop.Release(trop.Recursive()); err != nil || count != 0 {
		t.Errorf("%d, %v", count, err)
	}
}

func TestBadTextsOfEveryCall(t *testing.T) {
	registry := plain(t)
	for _, bad := range []string{"", " \t", "a\x00b", "\xff", strings.Repeat("x", 300)} {
		_, err := registry.Find(trop.Tag(bad))
		wantError(t, err, trop.ErrInvalidArgument, "tag")
	}
	for _, bad := range []string{"", " \t", "a\x00b", "\xff"} {
		_, err := registry.Reserve(trop.Project(bad))
		wantError(t, err, trop.ErrInvalidArgument, "project")
		_, err = registry.Reserve(trop.Task(bad))
		wantError(t, err, trop.ErrInvalidArgument, "task")
	}
	_, err := registry.List(trop.Tag("a\x00b"))
	wantError(t, err, trop.ErrInvalidArgument, "tag")
	_, err = registry.List(trop.Project("\xff"))
	wantError(t, err, trop.ErrInvalidArgument, "project")
	for _, port := range []int{0, -1, 65536, 1 << 32} {
		_, err := registry.FindPort(port)
		wantError(t, err, trop.ErrInvalidArgument, "port")
		_, err = registry.ReleasePort(port)
		wantError(t, err, trop.ErrInvalidArgument, "port")
	}
	_, err = trop.Open(trop.DataDir(t.TempDir()), trop.StartDir("a\x00b"))
	wantError(t, err, trop.ErrInvalidArgument, "start_dir")
	_, err = trop.Open(trop.DataDir(t.TempDir()), trop.ConfigFile("a\x00b"))
	wantError(t, err, trop.ErrInvalidArgument, "config_file")
	if count(t, registry) != 0 {
		t.Error("something was reserved")
	}
}
