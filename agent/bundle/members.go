package bundle

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// members reads the members of a gzip file one after the other, as gzip does, and the zeros that tapes and block devices leave
// behind the last one, which gzip passes over and Go's reader takes for a damaged member. Anything else there is an error.
type members struct {
	raw *bufio.Reader
	z   *gzip.Reader
}

func newMembers(raw *bufio.Reader) (*members, error) {
	z, err := gzip.NewReader(raw)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &members{raw, z}, nil
}

func (m *members) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if err != io.EOF || n > 0 {
		if err == io.EOF { // of the member only
			err = nil
		}
		return n, err
	}
	for padded := false; ; padded = true {
		b, err := m.raw.ReadByte()
		if err != nil { // io.EOF: the end of the archive
			return 0, err
		}
		if b == 0 {
			continue
		}
		_ = m.raw.UnreadByte()
		if padded {
			return 0, gzip.ErrHeader
		}
		if err := m.z.Reset(m.raw); err != nil {
			return 0, err
		}
		m.z.Multistream(false)
		return 0, nil
	}
}
