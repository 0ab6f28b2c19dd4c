package bucket

import (
	"fmt"
	"log/slog"

	"github.com/ringtree/ringtree/collective/buffer"
)

// Config says how a [Reducer] works. The zero value averages, in buckets of the default size. It is copied by
// New and must be the same on every rank (Seal checks it), Logger excepted.
type Config struct {
	// BucketBytes is where a bucket ends: it takes gradients up to this size, or one larger gradient. Zero:
	// DefaultBucketBytes.
	BucketBytes int
	// FirstBucketBytes is the same for the first bucket, that of the gradients registered last. Zero:
	// DefaultFirstBucketBytes, or BucketBytes if that is smaller.
	FirstBucketBytes int
	// Op combines the ranks' gradients. Zero: buffer.Avg.
	Op buffer.Op
	// AllowUnused lets Wait reduce a gradient that was not marked ready in this step as zeros. Without it Wait
	// returns a *MissingError.
	AllowUnused bool
	// Logger is told about the layout, at level Debug. Nil: nobody is.
	Logger *slog.Logger
}

// withDefaults returns cfg with every zero replaced, or an error that Is ErrConfig.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.BucketBytes < 0 || cfg.FirstBucketBytes < 0 {
		return cfg, fmt.Errorf("%w: a bucket of %d bytes, the first of %d", ErrConfig, cfg.BucketBytes, cfg.FirstBucketBytes)
	}
	if cfg.BucketBytes == 0 {
		cfg.BucketBytes = DefaultBucketBytes
	}
	if cfg.FirstBucketBytes == 0 {
		cfg.FirstBucketBytes = min(DefaultFirstBucketBytes, cfg.BucketBytes)
	}
	if cfg.Op == 0 {
		cfg.Op = buffer.Avg
	}
	if !cfg.Op.Valid() {
		return cfg, fmt.Errorf("%w: reduce operation %v", ErrConfig, cfg.Op)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// words describes what must be the same on every rank.
func (cfg Config) words(t buffer.DType) string {
	unused := "no"
	if cfg.AllowUnused {
		unused = "zeros for"
	}
	return fmt.Sprintf("%v of %v in buckets of %d then %d bytes with %s unused gradients",
		cfg.Op, t, cfg.FirstBucketBytes, cfg.BucketBytes, unused)
}
