module github.com/ringtree/ringtree/collective/buffer/internal/versus

go 1.26.0

replace github.com/ringtree/ringtree => ../../../..

require github.com/ringtree/ringtree v0.0.0-00010101000000-000000000000

require golang.org/x/sys v0.49.0 // indirect
