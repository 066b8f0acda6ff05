package nsfs

import "errors"

// ErrNotNamespace is in the error for a file that does not live in nsfs.
var ErrNotNamespace = errors.New("gonso: not a namespace file")
