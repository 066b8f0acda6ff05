package sys

import "golang.org/x/sys/unix"

// Secure reports whether this program was given more privileges than who started
// it has, by a setuid bit or file capabilities: AT_SECURE of the auxiliary
// vector, see getauxval(3). glibc, which clears the environment of such programs,
// may leave a stack on which the Go runtime does not find the vector: that is the
// error, and means that nothing is known.
func Secure() (bool, error) {
	const atSecure = 23
	auxv, err := unix.Auxv()
	if err != nil {
		return false, err
	}
	for _, kv := range auxv {
		if kv[0] == atSecure && kv[1] != 0 {
			return true, nil
		}
	}
	return false, nil
}
