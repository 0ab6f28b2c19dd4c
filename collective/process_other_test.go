//go:build !linux

package collective_test

// roleVariable is the environment variable that makes this test binary a rank. Only Linux has links between processes.
const roleVariable = "RINGTREE_COLLECTIVE_TEST_ROLE"

func playRole(string) int { return 1 }
