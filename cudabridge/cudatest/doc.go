// Package cudatest is a strict stand-in for the CUDA driver, for tests on machines without a GPU: the library is C, built when
// a test needs it, and its kernels are executed by package ptx in the same process. It proves that the bridge keeps the
// driver's rules and computes the right thing; it shows neither speed nor what a real driver or processor would do
// differently.
//
// Nothing but a test that names it can meet it: it has no file name that a program would look for, lives in memory for as
// long as the test process does, and refuses to work in a process that has not started it.
package cudatest
