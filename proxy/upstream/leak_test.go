package upstream

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test leaves running, the gateway would too (fault F-G7).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
