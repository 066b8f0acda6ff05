package gonso

import (
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// beforeTests is called in the test program itself, not in workers.
var beforeTests = func() {}

func TestMain(m *testing.M) {
	testenv.Main(m, func() {
		Init()
		beforeTests()
	})
}
