package probe

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"
)

var (
	cacheKey  = Key{Hosts: []string{"b/2", "a/1", "b/2"}, Transports: []string{"shm", "mem"}, Shape: "4 ranks"}
	cacheTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func TestCache(t *testing.T) {
	c := &Cache{Dir: filepath.Join(t.TempDir(), "made", "here")}
	if _, err := c.loadAt(cacheKey, at(cacheTime)); !errors.Is(err, ErrNoEntry) {
		t.Errorf("empty: got %v, want %v", err, ErrNoEntry)
	}
	want := sampleReport()
	if err := c.storeAt(cacheKey, want, cacheTime); err != nil {
		t.Fatal(err)
	}
	other := Key{Hosts: []string{"a/1", "b/2"}, Transports: []string{"mem", "shm", "shm"}, Shape: "4 ranks"}
	if got, err := c.loadAt(other, at(cacheTime.Add(time.Hour))); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the same names in another order: got %+v, %v, want %+v", got, err, want)
	}
	for name, k := range map[string]Key{
		"host":      {Hosts: []string{"a/1"}, Transports: other.Transports, Shape: other.Shape},
		"transport": {Hosts: other.Hosts, Transports: []string{"mem"}, Shape: other.Shape},
		"shape":     {Hosts: other.Hosts, Transports: other.Transports},
	} {
		if _, err := c.loadAt(k, at(cacheTime)); !errors.Is(err, ErrNoEntry) {
			t.Errorf("another %s: got %v, want %v", name, err, ErrNoEntry)
		}
	}
	for _, age := range []time.Duration{DefaultMaxAge + 1, -1} {
		if _, err := c.loadAt(cacheKey, at(cacheTime.Add(age))); !errors.Is(err, ErrStale) {
			t.Errorf("age %v: got %v, want %v", age, err, ErrStale)
		}
	}
	c.MaxAge = -1
	if _, err := c.loadAt(cacheKey, at(cacheTime.AddDate(10, 0, 0))); err != nil {
		t.Errorf("any age: got %v", err)
	}
	c.MaxAge = time.Minute
	if _, err := c.loadAt(cacheKey, at(cacheTime.Add(2*time.Minute))); !errors.Is(err, ErrStale) {
		t.Errorf("after two minutes of one: got %v, want %v", err, ErrStale)
	}
	if files, err := os.ReadDir(c.Dir); err != nil || len(files) != 1 {
		t.Errorf("got %v, %v, want one file", files, err)
	}
}

// Whatever is in the file, the caller gets a typed error and can overwrite it.
func TestCacheCorrupt(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), MaxAge: -1}
	if err := c.Store(cacheKey, sampleReport()); err != nil {
		t.Fatal(err)
	}
	path, err := c.path(cacheKey.sorted())
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty": nil, "half": good[:len(good)/2], "more": append(bytes.Clone(good), "{}"...), "binary": {0, 1, 2}, "huge": make([]byte, maxEntry+1),
		"version": bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 2`), 1), "another key": bytes.Replace(good, []byte("4 ranks"), []byte("5 ranks"), 1),
		"negative": bytes.Replace(good, []byte(`"beta": 1e-10`), []byte(`"beta": -1e-10`), 1), "no report": []byte(`{"version":1}`),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var ce *CacheError
		if r, err := c.Load(cacheKey); !errors.As(err, &ce) || ce.Path != path || r != nil || bytes.Equal(text, good) {
			t.Errorf("%s: got %+v, %v, want a CacheError of %s", name, r, err, path)
		}
	}
	if err := c.Store(cacheKey, sampleReport()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(cacheKey); err != nil {
		t.Errorf("stored anew: %v", err)
	}
}

func TestCacheErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var ce *CacheError
	if err := (&Cache{Dir: file}).Store(cacheKey, sampleReport()); !errors.As(err, &ce) {
		t.Errorf("a file for a folder: got %v, want a CacheError", err)
	}
	dir := t.TempDir()
	c := &Cache{Dir: dir}
	path, err := c.path(cacheKey.sorted())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(cacheKey); !errors.As(err, &ce) {
		t.Errorf("a folder for a file: got %v, want a CacheError", err)
	}
	if err := c.Store(cacheKey, sampleReport()); !errors.As(err, &ce) {
		t.Errorf("a folder in the way: got %v, want a CacheError", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("after a failed store: got %v, %v, want nothing left behind", files, err)
	}
	var config *ConfigError
	if _, err := (&Cache{}).Load(cacheKey); !errors.As(err, &config) {
		t.Errorf("no folder: got %v, want a ConfigError", err)
	}
	if err := c.Store(Key{}, sampleReport()); !errors.As(err, &config) {
		t.Errorf("no hosts: got %v, want a ConfigError", err)
	}
	var re *ReportError
	if err := c.Store(cacheKey, &Report{Tiers: make([]TierCost, 2)}); !errors.As(err, &re) {
		t.Errorf("a bad report: got %v, want a ReportError", err)
	}
}

// Writers and readers of one entry never see half of it.
func TestCacheTogether(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	if err := c.Store(cacheKey, sampleReport()); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 20 {
				if err := c.Store(cacheKey, sampleReport()); err != nil {
					t.Error(err)
				}
			}
		})
		wait.Go(func() {
			for range 20 {
				if _, err := c.Load(cacheKey); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestDefaultCache(t *testing.T) {
	c, err := DefaultCache()
	if err != nil {
		t.Skipf("no cache folder on this system: %v", err)
	}
	if !filepath.IsAbs(c.Dir) || filepath.Base(c.Dir) != "ringtree" {
		t.Errorf("got %q, want a folder named ringtree", c.Dir)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(`{"version":1,"key":{"hosts":["a/1"],"transports":["mem"],"shape":""},"time":"2026-03-01T12:00:00Z","report":{"tiers":[{"level":"host","alpha":1e-6,"beta":1e-10,"pairs":1,"probes":3,"residual":0.1}]}}`))
	f.Add([]byte(`{"version":1,"report":null}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, r, err := parseEntry(text)
		if err != nil {
			return
		}
		if e.Version != cacheVersion {
			t.Errorf("version %d was let through", e.Version)
		}
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
