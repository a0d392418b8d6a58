package trop

// Reserve is [Registry.Reserve] on the process's registry of the current data directory and working
// directory.
func Reserve(options ...ReserveOption) (Reservation, error) {
	return shared(func(r *Registry) (Reservation, error) { return r.Reserve(options...) })
}

// Release is [Registry.Release] on the process's registry of the current data directory and working
// directory.
func Release(options ...ReleaseOption) (int, error) {
	return shared(func(r *Registry) (int, error) { return r.Release(options...) })
}

// ReleasePort is [Registry.ReleasePort] on the process's registry of the current data directory and working
// directory.
func ReleasePort(port int, options ...ReleasePortOption) (bool, error) {
	return shared(func(r *Registry) (bool, error) { return r.ReleasePort(port, options...) })
}

// Find is [Registry.Find] on the process's registry of the current data directory and working directory.
func Find(options ...FindOption) (*Reservation, error) {
	return shared(func(r *Registry) (*Reservation, error) { return r.Find(options...) })
}

// FindPort is [Registry.FindPort] on the process's registry of the current data directory and working
// directory.
func FindPort(port int) (*Reservation, error) {
	return shared(func(r *Registry) (*Reservation, error) { return r.FindPort(port) })
}

// List is [Registry.List] on the process's registry of the current data directory and working directory.
func List(options ...ListOption) ([]Reservation, error) {
	return shared(func(r *Registry) ([]Reservation, error) { return r.List(options...) })
}

// Projects is [Registry.Projects] on the process's registry of the current data directory and working
// directory.
func Projects() ([]string, error) {
	return shared((*Registry).Projects)
}

// ReserveGroup is [Registry.ReserveGroup] on the process's registry of the current data directory and working
// directory.
func ReserveGroup(options ...GroupOption) (map[string]int, error) {
	return shared(func(r *Registry) (map[string]int, error) { return r.ReserveGroup(options...) })
}

// Prune is [Registry.Prune] on the process's registry of the current data directory and working directory.
func Prune(options ...PruneOption) (Cleanup, error) {
	return shared(func(r *Registry) (Cleanup, error) { return r.Prune(options...) })
}

// Expire is [Registry.Expire] on the process's registry of the current data directory and working directory.
func Expire(options ...ExpireOption) (Cleanup, error) {
	return shared(func(r *Registry) (Cleanup, error) { return r.Expire(options...) })
}

// Autoclean is [Registry.Autoclean] on the process's registry of the current data directory and working
// directory.
func Autoclean(options ...ExpireOption) (Cleanup, error) {
	return shared(func(r *Registry) (Cleanup, error) { return r.Autoclean(options...) })
}

// Migrate is [Registry.Migrate] on the process's registry of the current data directory and working
// directory.
func Migrate(from, to string, options ...MigrateOption) (Migration, error) {
	return shared(func(r *Registry) (Migration, error) { return r.Migrate(from, to, options...) })
}

// Scan is [Registry.Scan] on the process's registry of the current data directory and working directory.
func Scan(options ...ScanOption) ([]Finding, error) {
	return shared(func(r *Registry) ([]Finding, error) { return r.Scan(options...) })
}

// LeasePort is [Registry.Lease] on the process's registry of the current data directory and working
// directory.
func LeasePort(options ...LeaseOption) (*Lease, error) {
	return shared(func(r *Registry) (*Lease, error) { return r.Lease(options...) })
}

// FreePort is [Registry.FreePort] on the process's registry of the current data directory and working
// directory.
func FreePort(options ...LeaseOption) (int, error) {
	return shared(func(r *Registry) (int, error) { return r.FreePort(options...) })
}

// LeaseMany is [Registry.LeaseMany] on the process's registry of the current data directory and working
// directory.
func LeaseMany(count int, options ...LeaseOption) ([]*Lease, error) {
	return shared(func(r *Registry) ([]*Lease, error) { return r.LeaseMany(count, options...) })
}

// LeaseT is [Registry.LeaseT] on the process's registry of the current data directory and working directory.
func LeaseT(t TestingT, options ...LeaseOption) *Lease {
	t.Helper()
	return leaseT(t, LeasePort, options)
}

// Leases is [Registry.Leases] on the process's registry of the current data directory and working directory.
func Leases() ([]LeaseInfo, error) {
	return shared((*Registry).Leases)
}

// OwnLeases is [Registry.OwnLeases] on the process's registry of the current data directory and working
// directory.
func OwnLeases() ([]LeaseInfo, error) {
	return shared((*Registry).OwnLeases)
}

// Explain is [Registry.Explain] on the process's registry of the current data directory and working
// directory.
func Explain(port int) (Explanation, error) {
	return shared(func(r *Registry) (Explanation, error) { return r.Explain(port) })
}

// ValidateDatabase is [Registry.ValidateDatabase] on the process's registry of the current data directory and
// working directory.
func ValidateDatabase() error {
	_, err := shared(func(r *Registry) (struct{}, error) { return struct{}{}, r.ValidateDatabase() })
	return err
}
