// Package kernels holds the text of the bridge's kernels, which internal/gen writes.
package kernels

import "embed"

//go:generate go run ../gen -out .

//go:embed *.ptx
var text embed.FS

// Text returns the PTX of a file, by its name without the extension.
func Text(name string) ([]byte, error) { return text.ReadFile(name + ".ptx") }
