package launch

import "syscall"

// dieWithParent asks the kernel to kill the child when the thread that started it ends; the caller must stay on
// that thread.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
