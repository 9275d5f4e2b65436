package bundle

import (
	"errors"
	"syscall"
)

// fullError says that a disk has no room.
type fullError struct{ error }

// IsFull says whether an error comes of a disk that has no room.
func IsFull(err error) bool {
	return errors.As(err, new(fullError)) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
