// The Go worker of make bench; the protocol is in bench/PROTOCOL.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"trop"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("go-worker: ")
	if len(os.Args) != 4 {
		log.Fatal("usage: go-worker DATA_DIR MIN MAX")
	}
	worker, err := open(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var operation string
		var count int
		if _, err := fmt.Sscan(in.Text(), &operation, &count); err != nil {
			log.Fatalf("%q: %v", in.Text(), err)
		}
		answer := worker.run(operation, count)
		if answer.failure != nil {
			log.Printf("%s: %v", in.Text(), answer.failure)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(text))
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
}

type worker struct {
	opening  []trop.OpenOption
	registry *trop.Registry
	made     int
	// The tags that are reserved and the leases that are kept, the oldest first.
	reserved []string
	leases   []*trop.Lease
}

func open(dir, min, max string) (*worker, error) {
	low, err := strconv.Atoi(min)
	if err != nil {
		return nil, err
	}
	high, err := strconv.Atoi(max)
	if err != nil {
		return nil, err
	}
	opening := []trop.OpenOption{
		trop.DataDir(dir), trop.Ports(low, high), trop.NoDiscovery(), trop.NoVariables(),
	}
	registry, err := trop.Open(opening...)
	return &worker{opening: opening, registry: registry}, err
}

func (w *worker) run(operation string, count int) answer {
	switch operation {
	case "new":
		return w.reserveNew(count)
	case "fill":
		return w.reserveNew(count, trop.SkipOccupancyCheck())
	case "release":
		return w.release(count)
	case "hit":
		return w.hit(count)
	case "touch":
		return w.touch(count)
	case "lease":
		return w.lease(count)
	case "close":
		return w.close(count)
	case "open":
		return w.openAgain(count)
	}
	log.Fatalf("unknown operation %q", operation)
	return answer{}
}

func (w *worker) reserveNew(count int, options ...trop.ReserveOption) answer {
	tags := make([]string, count)
	for i := range tags {
		w.made++
		tags[i] = fmt.Sprintf("%d-%d", os.Getpid(), w.made)
	}
	m := w.reserve(tags, options...)
	for i, tag := range tags {
		if m.errs[i] == nil {
			w.reserved = append(w.reserved, tag)
		}
	}
	return m.answer(reservedPort)
}

func (w *worker) release(count int) answer {
	tags := w.oldest(count)
	options := make([][]trop.ReleaseOption, count)
	for i, tag := range tags {
		options[i] = []trop.ReleaseOption{trop.Tag(tag)}
	}
	m := measure(count, func(i int) (int, error) { return w.registry.Release(options[i]...) })
	// Those whose release failed stay the oldest.
	var kept []string
	for i, tag := range tags {
		if m.errs[i] != nil {
			kept = append(kept, tag)
		}
	}
	w.reserved = append(kept, w.reserved[count:]...)
	return m.answer(nil)
}

func (w *worker) hit(count int) answer {
	options := w.last()
	if _, err := w.registry.Reserve(options...); err != nil {
		log.Fatal(err)
	}
	m := measure(count, func(int) (trop.Reservation, error) { return w.registry.Reserve(options...) })
	return m.answer(reservedPort)
}

func (w *worker) touch(count int) answer {
	tags := w.oldest(count)
	// Wait for the next second, so that reserving each tag again changes its LastUsedAt.
	time.Sleep(time.Until(time.Now().Round(0).Truncate(time.Second).Add(time.Second)))
	return w.reserve(tags).answer(reservedPort)
}

func (w *worker) lease(count int) answer {
	m := measure(count, func(int) (*trop.Lease, error) { return w.registry.Lease() })
	for i, lease := range m.results {
		if m.errs[i] == nil {
			w.leases = append(w.leases, lease)
		}
	}
	return m.answer((*trop.Lease).Port)
}

func (w *worker) close(count int) answer {
	if count > len(w.leases) {
		log.Fatalf("only %d leases are kept", len(w.leases))
	}
	leases := w.leases[:count]
	w.leases = w.leases[count:]
	return measure(count, func(i int) (struct{}, error) { return struct{}{}, leases[i].Close() }).answer(nil)
}

func (w *worker) openAgain(count int) answer {
	options := w.last()
	m := measure(count, func(int) (trop.Reservation, error) {
		registry, err := trop.Open(w.opening...)
		if err != nil {
			return trop.Reservation{}, err
		}
		defer registry.Close()
		return registry.Reserve(options...)
	})
	return m.answer(reservedPort)
}

// reserve reserves each tag, with the options.
func (w *worker) reserve(tags []string, options ...trop.ReserveOption) measured[trop.Reservation] {
	all := make([][]trop.ReserveOption, len(tags))
	for i, tag := range tags {
		all[i] = append([]trop.ReserveOption{trop.Tag(tag)}, options...)
	}
	return measure(len(tags), func(i int) (trop.Reservation, error) { return w.registry.Reserve(all[i]...) })
}

func (w *worker) oldest(count int) []string {
	if count > len(w.reserved) {
		log.Fatalf("only %d tags are reserved", len(w.reserved))
	}
	return w.reserved[:count]
}

// last returns the key of the tag that was reserved last; without one it reserves one.
func (w *worker) last() []trop.ReserveOption {
	if len(w.reserved) == 0 && w.reserveNew(1).Failed > 0 {
		log.Fatal("no tag could be reserved")
	}
	return []trop.ReserveOption{trop.Tag(w.reserved[len(w.reserved)-1])}
}

// A measured is how long each call took, and its result.
type measured[T any] struct {
	ns      []int64
	results []T
	errs    []error
}

// measure times each call by itself.
func measure[T any](count int, call func(i int) (T, error)) measured[T] {
	m := measured[T]{make([]int64, count), make([]T, count), make([]error, count)}
	for i := range count {
		start := time.Now()
		result, err := call(i)
		m.ns[i] = time.Since(start).Nanoseconds()
		m.results[i], m.errs[i] = result, err
	}
	return m
}

type answer struct {
	NS     []int64 `json:"ns"`
	Ports  []int   `json:"ports"`
	Failed int     `json:"failed"`
	// The first error.
	failure error
}

// answer returns the answer to a command. The function port returns the port of a result; nil if it has none.
func (m measured[T]) answer(port func(T) int) answer {
	a := answer{NS: m.ns, Ports: []int{}}
	for i, err := range m.errs {
		if err != nil {
			a.Failed++
			if a.failure == nil {
				a.failure = err
			}
		} else if port != nil {
			a.Ports = append(a.Ports, port(m.results[i]))
		}
	}
	return a
}

func reservedPort(reservation trop.Reservation) int {
	return reservation.Port
}
