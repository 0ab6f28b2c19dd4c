package probe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// DefaultMaxAge is how old an entry of a [Cache] may be unless the cache says otherwise.
const DefaultMaxAge = 24 * time.Hour

// A Cache keeps reports in files, one for every [Key]. Nothing depends on it: every error that it returns means that
// the caller measures, or that the next run will. It is safe for concurrent use, also by several processes.
type Cache struct {
	// Dir is where the files are. It is made when the first one is written.
	Dir string
	// MaxAge is how old an entry may be. 0: [DefaultMaxAge]; negative: any age.
	MaxAge time.Duration
}

// DefaultCache returns the cache of this user: the folder ringtree in [os.UserCacheDir], whose error it returns.
func DefaultCache() (*Cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return &Cache{Dir: filepath.Join(dir, "ringtree")}, nil
}

// A Key says what a report was measured on. The order of the names does not matter, nor whether one stands twice.
type Key struct {
	Hosts      []string `json:"hosts"`      // [HostInfo.Identity] of each
	Transports []string `json:"transports"` // names of those that the ranks had
	Shape      string   `json:"shape"`      // what else the costs depend on, such as the topology that was asked for
}

func (k Key) sorted() Key {
	unique := func(names []string) []string {
		names = slices.Clone(names)
		slices.Sort(names)
		return slices.Compact(names)
	}
	return Key{Hosts: unique(k.Hosts), Transports: unique(k.Transports), Shape: k.Shape}
}

func (k Key) equal(o Key) bool {
	return slices.Equal(k.Hosts, o.Hosts) && slices.Equal(k.Transports, o.Transports) && k.Shape == o.Shape
}

// cacheVersion changes with the text form and with what a measurement means.
const cacheVersion = 1

// entry is the text of a file.
type entry struct {
	Version int             `json:"version"`
	Key     Key             `json:"key"`
	Time    time.Time       `json:"time"`
	Report  json.RawMessage `json:"report"`
}

// maxEntry bounds a file: a report of MaxPairs pairs is far shorter.
const maxEntry = 1 << 20

// path returns the file of a key.
func (c *Cache) path(k Key) (string, error) {
	if c.Dir == "" {
		return "", configErrorf("Cache.Dir", "none")
	}
	if len(k.Hosts) == 0 {
		return "", configErrorf("Key.Hosts", "none")
	}
	text, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", cacheVersion, text))
	return filepath.Join(c.Dir, "probe-"+hex.EncodeToString(sum[:16])+".json"), nil
}

// Load returns the report that was stored under a key. The error Is [ErrNoEntry] or [ErrStale] when there is none or an
// old one, is a [*CacheError] when the file cannot be read or is not an entry of that key, and a [*ConfigError] when the
// cache or key cannot be.
func (c *Cache) Load(k Key) (*Report, error) { return c.loadAt(k, time.Now) }

// loadAt asks for the time when it has read the entry, which another process may have written a moment ago.
func (c *Cache) loadAt(k Key, now func() time.Time) (*Report, error) {
	k = k.sorted()
	path, err := c.path(k)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoEntry
	}
	if err != nil {
		return nil, &CacheError{path, err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return nil, &CacheError{path, err}
	}
	e, r, err := parseEntry(text)
	if err != nil {
		return nil, &CacheError{path, err}
	}
	if !e.Key.sorted().equal(k) {
		return nil, &CacheError{path, errors.New("it is another key's")}
	}
	limit := c.MaxAge
	if limit == 0 {
		limit = DefaultMaxAge
	}
	// A time that is still to come was written by a clock that has been set back since: nobody knows how old it is.
	if age := now().Sub(e.Time); age < 0 || limit > 0 && age > limit {
		return nil, fmt.Errorf("%w: measured %v", ErrStale, e.Time)
	}
	return r, nil
}

// parseEntry reads the text of a file, from whoever wrote it.
func parseEntry(text []byte) (*entry, *Report, error) {
	if len(text) > maxEntry {
		return nil, nil, fmt.Errorf("longer than %d bytes", maxEntry)
	}
	var e entry
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, errors.New("text after its end")
	}
	if e.Version != cacheVersion {
		return nil, nil, fmt.Errorf("version %d, want %d", e.Version, cacheVersion)
	}
	r, err := ParseReport(e.Report)
	if err != nil {
		return nil, nil, err
	}
	return &e, r, nil
}

// Store keeps a report under a key. The file is written beside its place and moved there, so that a reader sees the old one or
// the new one, whole. It fails with a [*ReportError], a [*ConfigError] or a [*CacheError].
func (c *Cache) Store(k Key, r *Report) error { return c.storeAt(k, r, time.Now()) }

func (c *Cache) storeAt(k Key, r *Report, now time.Time) error {
	if err := r.check(); err != nil {
		return err
	}
	k = k.sorted()
	path, err := c.path(k)
	if err != nil {
		return err
	}
	report, err := r.MarshalJSON()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(entry{cacheVersion, k, now.UTC(), report}, "", "\t")
	if err != nil {
		return err
	}
	if err := writeFile(c.Dir, path, append(text, '\n')); err != nil {
		return &CacheError{path, err}
	}
	return nil
}

func writeFile(dir, path string, text []byte) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
