//go:build !linux

package launch

import "syscall"

// dieWithParent has nothing to ask for here: the pipe alone ties the child to its parent.
func dieWithParent() *syscall.SysProcAttr { return nil }
