package hooks_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

var scripts atomic.Int64

// unique is an ID no other script on this machine has.
func unique(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("d-TEST%d-%d", os.Getpid(), scripts.Add(1))
}
