package errtree

func errnoOf(error) (uint64, bool) { return 0, false }

func errnoError(uint64) error { return nil }
