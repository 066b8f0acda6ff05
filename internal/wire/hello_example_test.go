package wire_test

import (
	"fmt"

	"github.com/gonso/gonso/internal/wire"
)

// A worker of another version is refused, with both versions.
func ExampleHello() {
	_, err := wire.ParseHello(wire.Hello{Protocol: wire.Version + 1}.Frame(wire.Alive).Payload)
	fmt.Println(err)
	// Output: wire: protocol violated: the peer speaks version 7, this program 6
}
