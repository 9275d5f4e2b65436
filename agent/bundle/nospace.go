//go:build !linux || developer

package bundle

// CheckSpace is for servers, whose disk is others' too: on a developer's machine a write says that the disk is full.
func CheckSpace(string, int64, int) error { return nil }
