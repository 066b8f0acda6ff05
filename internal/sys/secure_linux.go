package sys

import "golang.org/x/sys/unix"

// Secure reports whether a setuid bit or file capabilities gave this program more privileges than
// the user who started it has: AT_SECURE of the auxiliary vector, see getauxval(3). glibc clears
// the environment of such programs. Then the Go runtime may not find the vector on the stack. In
// this case Secure returns an error: nothing is known.
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
