package launch

import "testing"

func TestNoOrphansByKernel(t *testing.T) { testOrphans(t, "report-deaf") }
