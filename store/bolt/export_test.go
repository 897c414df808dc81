package bolt

// OpenAsLarge opens a file as one that is too large to be read whole.
func OpenAsLarge(path string) (*DB, error) { return openUpTo(path, 0) }
