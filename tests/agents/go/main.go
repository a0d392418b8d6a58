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
	var agent agent
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

type agent struct{ registry *trop.Registry }

func (a *agent) run(verb string, f fields) ([]string, error) {
	switch verb {
	case "open":
		return a.open(f)
	case "reserve":
		return a.reserve(f)
	case "storm":
		return a.storm(f)
	case "release":
		return a.release(f)
	case "list":
		return a.list()
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
	if f["create"] == "0" {
		options = append(options, trop.NoCreate())
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
	a.registry, err = trop.Open(options...)
	return nil, err
}

func (a *agent) reserve(f fields) ([]string, error) {
	var options []trop.ReserveOption
	for _, option := range f.key() {
		options = append(options, option)
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
	if f["allow_unrelated_path"] == "0" {
		options = append(options, trop.RefuseUnrelatedPath())
	}
	reservation, err := a.registry.Reserve(options...)
	if err != nil {
		return nil, err
	}
	answer := []string{field("port", strconv.Itoa(reservation.Port)), field("path", reservation.Path)}
	if reservation.Tag != "" {
		answer = append(answer, field("tag", reservation.Tag))
	}
	created := "0"
	if reservation.Created {
		created = "1"
	}
	answer = append(answer, field("created", created))
	if reservation.Refusal != "" {
		answer = append(answer, field("refusal", reservation.Refusal))
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

func (a *agent) release(f fields) ([]string, error) {
	var options []trop.ReleaseOption
	for _, option := range f.key() {
		options = append(options, option)
	}
	if f["untagged_only"] == "1" {
		options = append(options, trop.UntaggedOnly())
	}
	count, err := a.registry.Release(options...)
	return []string{field("count", strconv.Itoa(count))}, err
}

func (a *agent) list() ([]string, error) {
	list, err := a.registry.List()
	if err != nil {
		return nil, err
	}
	rows := make([]map[string]any, len(list))
	for i, r := range list {
		rows[i] = map[string]any{
			"port": r.Port, "path": r.Path, "tag": orNull(r.Tag), "project": orNull(r.Project), "task": orNull(r.Task),
			"created_at": r.CreatedAt.Format(time.DateTime), "last_used_at": r.LastUsedAt.Format(time.DateTime),
		}
	}
	text, err := json.Marshal(rows)
	return []string{field("json", string(text))}, err
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

// number is the nearest number Go can express.
func (f fields) number(name string) int {
	number, err := strconv.Atoi(f[name])
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		log.Fatalf("%s=%q is not a number", name, f[name])
	}
	return number
}

func (f fields) key() (options []trop.KeyOption) {
	if path, given := f["path"]; given {
		options = append(options, trop.Path(path))
	}
	if tag, given := f["tag"]; given {
		options = append(options, trop.Tag(tag))
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
