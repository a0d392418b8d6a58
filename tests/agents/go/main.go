// The Go agent of the cross-language tests; the protocol is in tests/PROTOCOL.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"trop"
)

func main() {
	log.SetFlags(0)
	in := bufio.NewReader(os.Stdin)
	agent := agent{listeners: map[int]net.Listener{}}
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return
		}
		if err != nil {
			log.Fatalf("the input ends inside a line: %v", err)
		}
		verb, fields := parse(strings.TrimSuffix(line, "\n"))
		answer, err := agent.run(verb, fields)
		if err != nil {
			answer = describe(err)
		} else {
			answer = append([]string{"ok"}, answer...)
		}
		fmt.Println(strings.Join(answer, "\t"))
	}
}

type agent struct {
	registry *trop.Registry
	// Every lease that was taken, by its handle, and what listens on it.
	leases    []*trop.Lease
	listeners map[int]net.Listener
}

func (a *agent) run(verb string, f fields) ([]string, error) {
	switch verb {
	case "open":
		return a.open(f)
	case "reserve":
		return a.reserve(f)
	case "storm":
		return a.storm(f)
	case "reserve_group":
		return a.reserveGroup(f)
	case "release":
		return a.release(f)
	case "release_port":
		return a.releasePort(f)
	case "lease":
		return a.lease(f)
	case "port":
		port, err := a.registry.FreePort(leaseOptions(f)...)
		return []string{"port=" + strconv.Itoa(port)}, err
	case "lease_close":
		handle := f.number("handle")
		if listener, found := a.listeners[handle]; found {
			delete(a.listeners, handle)
			listener.Close()
		}
		return nil, a.leases[handle].Close()
	case "lease_listen":
		listener, err := a.leases[f.number("handle")].Listen(f["host"])
		if err == nil {
			a.listeners[f.number("handle")] = listener
		}
		return nil, err
	case "lease_wait_listening":
		timeout := time.Duration(f.number("timeout_ms")) * time.Millisecond
		return nil, a.leases[f.number("handle")].WaitListening(timeout)
	case "leases":
		return leased(a.registry.Leases())
	case "own_leases":
		return leased(a.registry.OwnLeases())
	case "explain":
		return explained(a.registry.Explain(f.number("port")))
	case "find":
		return found(a.registry.Find(key[trop.FindOption](f)...))
	case "find_port":
		return found(a.registry.FindPort(f.number("port")))
	case "list":
		return a.list(f)
	case "projects":
		return shown(a.registry.Projects())
	case "prune":
		return cleaned(a.registry.Prune(dryRun[trop.PruneOption](f)...))
	case "expire":
		return cleaned(a.registry.Expire(f.expiry()...))
	case "autoclean":
		return cleaned(a.registry.Autoclean(f.expiry()...))
	case "migrate":
		return a.migrate(f)
	case "scan":
		return a.scan(f)
	case "validate_config":
		return shown(trop.ValidateConfig(f["file"]))
	case "validate_database":
		return nil, a.registry.ValidateDatabase()
	case "close":
		return nil, a.registry.Close()
	}
	log.Fatalf("unknown verb %q", verb)
	return nil, nil
}

func (a *agent) open(f fields) (_ []string, err error) {
	a.registry.Close()
	a.registry = nil
	var options []trop.OpenOption
	if path, given := f["data_dir"]; given {
		options = append(options, trop.DataDir(path))
	}
	if f.has("busy_timeout_ms") {
		wait := min(max(f.number("busy_timeout_ms"), math.MinInt32), math.MaxUint32)
		options = append(options, trop.BusyTimeout(time.Duration(wait)*time.Millisecond))
	}
	if f.has("ports_min") {
		options = append(options, trop.Ports(f.number("ports_min"), f.number("ports_max")))
	}
	if list, given := f["excluded"]; given {
		options = append(options, trop.Excluded(list))
	}
	if path, given := f["start_dir"]; given {
		options = append(options, trop.StartDir(path))
	}
	if path, given := f["config_file"]; given {
		options = append(options, trop.ConfigFile(path))
	}
	options = append(options, chosen(f, map[string]trop.OpenOption{
		"create=0":    trop.NoCreate(),
		"discovery=0": trop.NoDiscovery(),
		"variables=0": trop.NoVariables(),

		"avoid_unsafe_ports=0": trop.AvoidUnsafePorts(false),
		"avoid_unsafe_ports=1": trop.AvoidUnsafePorts(true),
	})...)
	a.registry, err = trop.Open(options...)
	return nil, err
}

func (a *agent) reserve(f fields) ([]string, error) {
	options := key[trop.ReserveOption](f)
	if project, given := f["project"]; given {
		options = append(options, trop.Project(project))
	}
	if task, given := f["task"]; given {
		options = append(options, trop.Task(task))
	}
	if f.has("port") {
		options = append(options, trop.Port(f.number("port")))
	}
	if f.has("min") {
		options = append(options, trop.Min(f.number("min")))
	}
	if f.has("max") {
		options = append(options, trop.Max(f.number("max")))
	}
	options = append(options, chosen(f, map[string]trop.ReserveOption{
		"clear_project=1":        trop.ClearProject(),
		"clear_task=1":           trop.ClearTask(),
		"overwrite=1":            trop.Overwrite(),
		"ignore_occupied=1":      trop.IgnoreOccupied(),
		"ignore_exclusions=1":    trop.IgnoreExclusions(),
		"allow_unrelated_path=0": trop.RefuseUnrelatedPath(),
		"allow_project_change=1": trop.AllowProjectChange(),
		"allow_task_change=1":    trop.AllowTaskChange(),
		"force=1":                trop.Force(),
		"disable_autoprune=1":    trop.DisableAutoprune(),
		"disable_autoexpire=1":   trop.DisableAutoexpire(),
		"skip_occupancy_check=1": trop.SkipOccupancyCheck(),
		"dry_run=1":              trop.DryRun(),
	})...)
	reservation, err := a.registry.Reserve(options...)
	if err != nil {
		return nil, err
	}
	answer := []string{field("port", strconv.Itoa(reservation.Port)), field("path", reservation.Path)}
	created := "0"
	if reservation.Created {
		created = "1"
	}
	answer = append(answer, field("created", created))
	for name, value := range map[string]string{
		"tag": reservation.Tag, "project": reservation.Project, "task": reservation.Task,
		"refusal": reservation.Refusal,
	} {
		if value != "" {
			answer = append(answer, field(name, value))
		}
	}
	if reservation.Cleanup != nil {
		counts, _ := cleaned(*reservation.Cleanup, nil)
		answer = append(answer, counts...)
	}
	return answer, nil
}

func (a *agent) storm(f fields) ([]string, error) {
	var ports []string
	path := trop.Path(f["path"])
	for i := range f.number("count") {
		reservation, err := a.registry.Reserve(path, trop.Tag(strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		ports = append(ports, strconv.Itoa(reservation.Port))
	}
	return []string{field("ports", strings.Join(ports, ","))}, nil
}

func (a *agent) reserveGroup(f fields) ([]string, error) {
	var options []trop.GroupOption
	if file, given := f["file"]; given {
		options = append(options, trop.File(file))
	}
	if task, given := f["task"]; given {
		options = append(options, trop.Task(task))
	}
	options = append(options, chosen(f, map[string]trop.GroupOption{
		"by=variable":            trop.ByVariable(),
		"allow_unrelated_path=0": trop.RefuseUnrelatedPath(),
		"allow_project_change=1": trop.AllowProjectChange(),
		"allow_task_change=1":    trop.AllowTaskChange(),
		"force=1":                trop.Force(),
		"skip_occupancy_check=1": trop.SkipOccupancyCheck(),
		"dry_run=1":              trop.DryRun(),
	})...)
	return shown(a.registry.ReserveGroup(options...))
}

func (a *agent) release(f fields) ([]string, error) {
	options := append(key[trop.ReleaseOption](f), chosen(f, map[string]trop.ReleaseOption{
		"untagged_only=1":        trop.UntaggedOnly(),
		"recursive=1":            trop.Recursive(),
		"allow_unrelated_path=0": trop.RefuseUnrelatedPath(),
		"dry_run=1":              trop.DryRun(),
	})...)
	count, err := a.registry.Release(options...)
	return []string{field("count", strconv.Itoa(count))}, err
}

func (a *agent) releasePort(f fields) ([]string, error) {
	released, err := a.registry.ReleasePort(f.number("port"), chosen(f, map[string]trop.ReleasePortOption{
		"force=1":   trop.Force(),
		"dry_run=1": trop.DryRun(),
	})...)
	if released {
		return []string{"count=1"}, err
	}
	return []string{"count=0"}, err
}

func leaseOptions(f fields) []trop.LeaseOption {
	var options []trop.LeaseOption
	if label, given := f["label"]; given {
		options = append(options, trop.Label(label))
	}
	if f.has("port") {
		options = append(options, trop.Port(f.number("port")))
	}
	if f.has("min") {
		options = append(options, trop.Min(f.number("min")))
	}
	if f.has("max") {
		options = append(options, trop.Max(f.number("max")))
	}
	return append(options, chosen(f, map[string]trop.LeaseOption{
		"contiguous=1":           trop.Contiguous(),
		"hold=1":                 trop.Hold(),
		"skip_occupancy_check=1": trop.SkipOccupancyCheck(),
	})...)
}

func (a *agent) lease(f fields) ([]string, error) {
	options := leaseOptions(f)
	var taken []*trop.Lease
	var err error
	if f.has("count") {
		taken, err = a.registry.LeaseMany(f.number("count"), options...)
	} else {
		var lease *trop.Lease
		lease, err = a.registry.Lease(options...)
		taken = []*trop.Lease{lease}
	}
	if err != nil {
		return nil, err
	}
	var ports, handles []string
	for _, lease := range taken {
		ports = append(ports, strconv.Itoa(lease.Port()))
		handles = append(handles, strconv.Itoa(len(a.leases)))
		a.leases = append(a.leases, lease)
	}
	return []string{field("ports", strings.Join(ports, ",")), field("handles", strings.Join(handles, ","))}, nil
}

func (a *agent) list(f fields) ([]string, error) {
	options := key[trop.ListOption](f)
	if project, given := f["project"]; given {
		options = append(options, trop.Project(project))
	}
	list, err := a.registry.List(options...)
	rows := make([]map[string]any, len(list))
	for i, reservation := range list {
		rows[i] = row(reservation)
	}
	return shown(rows, err)
}

func (a *agent) migrate(f fields) ([]string, error) {
	moved, err := a.registry.Migrate(f["from"], f["to"], chosen(f, map[string]trop.MigrateOption{
		"recursive=1": trop.Recursive(),
		"force=1":     trop.Force(),
		"dry_run=1":   trop.DryRun(),
	})...)
	return []string{
		field("moved", strconv.Itoa(len(moved.Moves))), field("conflicts", strconv.Itoa(len(moved.Conflicts))),
	}, err
}

func (a *agent) scan(f fields) ([]string, error) {
	var options []trop.ScanOption
	if f.has("min") {
		options = append(options, trop.Min(f.number("min")))
	}
	if f.has("max") {
		options = append(options, trop.Max(f.number("max")))
	}
	findings, err := a.registry.Scan(options...)
	rows := make([]map[string]any, len(findings))
	for i, found := range findings {
		rows[i] = map[string]any{
			"port": found.Port, "status": found.Status, "reserved": found.Reserved, "protocol": found.Protocol,
			"address_family": found.AddressFamily, "scope": found.Scope, "address": found.Address,
			"process_id": found.ProcessID, "process_name": orNull(found.ProcessName), "user": orNull(found.User),
			"owner_status": found.OwnerStatus,
		}
		if found.ProcessID == 0 {
			rows[i]["process_id"] = nil
		}
	}
	return shown(rows, err)
}

func row(r trop.Reservation) map[string]any {
	return map[string]any{
		"port": r.Port, "path": r.Path, "tag": orNull(r.Tag), "project": orNull(r.Project), "task": orNull(r.Task),
		"created_at": r.CreatedAt.Format(time.DateTime), "last_used_at": r.LastUsedAt.Format(time.DateTime),
	}
}

func leaseRow(l trop.LeaseInfo) map[string]any {
	row := map[string]any{
		"port": l.Port, "label": orNull(l.Label), "state": l.State, "pid": l.PID, "command": orNull(l.Command),
		"directory": l.Directory, "since": l.Since.Format(time.DateTime),
		"process_state": l.ProcessState, "kept_by": l.KeptBy,
	}
	for _, name := range []string{"pid", "kept_by"} {
		if row[name] == 0 {
			row[name] = nil
		}
	}
	return row
}

func leased(list []trop.LeaseInfo, err error) ([]string, error) {
	rows := make([]map[string]any, len(list))
	for i, lease := range list {
		rows[i] = leaseRow(lease)
	}
	return shown(rows, err)
}

func explained(told trop.Explanation, err error) ([]string, error) {
	answer := map[string]any{
		"port": told.Port, "reservation": nil, "lease": nil, "occupied": told.Occupied,
		"process_id": told.ProcessID, "process_name": orNull(told.ProcessName), "user": orNull(told.User),
		"in_range": told.InRange, "excluded": told.Excluded,
		"refused": told.Refused, "closing": told.Closing, "forbidden": told.Forbidden, "text": told.Text,
	}
	if told.ProcessID == 0 {
		answer["process_id"] = nil
	}
	if told.Reservation != nil {
		answer["reservation"] = row(*told.Reservation)
	}
	if told.Lease != nil {
		answer["lease"] = leaseRow(*told.Lease)
	}
	return shown(answer, err)
}

// shown returns the answer with a value as JSON.
func shown(value any, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	return []string{field("json", string(text))}, err
}

func found(reservation *trop.Reservation, err error) ([]string, error) {
	if reservation == nil {
		return shown(nil, err)
	}
	return shown(row(*reservation), err)
}

func cleaned(cleanup trop.Cleanup, err error) ([]string, error) {
	return []string{
		field("pruned", strconv.Itoa(len(cleanup.Pruned))), field("expired", strconv.Itoa(len(cleanup.Expired))),
	}, err
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func describe(err error) []string {
	var failure *trop.Error
	if !errors.As(err, &failure) {
		log.Fatalf("an error without a code: %v", err)
	}
	answer := []string{"error", field("code", strconv.Itoa(int(failure.Code))), field("name", failure.Name)}
	if failure.Argument != "" {
		answer = append(answer, field("argument", failure.Argument))
	}
	return append(answer, field("message", failure.Message))
}

// The fields of a command, decoded.
type fields map[string]string

func parse(line string) (verb string, f fields) {
	parts := strings.Split(line, "\t")
	f = fields{}
	for _, part := range parts[1:] {
		name, value, found := strings.Cut(part, "=")
		decoded, err := url.PathUnescape(value)
		if !found || err != nil {
			log.Fatalf("malformed field %q", part)
		}
		f[name] = decoded
	}
	return parts[0], f
}

func (f fields) has(name string) bool {
	_, given := f[name]
	return given
}

// number returns the nearest number Go can express.
func (f fields) number(name string) int {
	number, err := strconv.Atoi(f[name])
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		log.Fatalf("%s=%q is not a number", name, f[name])
	}
	return number
}

func (f fields) expiry() []trop.ExpireOption {
	options := dryRun[trop.ExpireOption](f)
	if f.has("days") {
		options = append(options, trop.Days(f.number("days")))
	}
	return options
}

// key returns the options for the path and the tag, of a kind that takes them.
func key[O any](f fields) (options []O) {
	if path, given := f["path"]; given {
		options = append(options, any(trop.Path(path)).(O))
	}
	if tag, given := f["tag"]; given {
		options = append(options, any(trop.Tag(tag)).(O))
	}
	return options
}

func dryRun[O any](f fields) []O {
	return chosen(f, map[string]O{"dry_run=1": any(trop.DryRun()).(O)})
}

// chosen returns the options whose field has their value.
func chosen[O any](f fields, all map[string]O) (options []O) {
	for condition, option := range all {
		name, value, _ := strings.Cut(condition, "=")
		if given, found := f[name]; found && given == value {
			options = append(options, option)
		}
	}
	return options
}

func field(name, value string) string {
	var encoded strings.Builder
	encoded.WriteString(name + "=")
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("_.-/~", c) >= 0:
			encoded.WriteByte(c)
		default:
			fmt.Fprintf(&encoded, "%%%02X", c)
		}
	}
	return encoded.String()
}
