package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// DefaultMaxFiles is the most files, directories and links a bundle may hold. Applications that
	// carry node_modules or vendor reach tens of thousands; an archive made to use up the disk's
	// inodes has millions.
	DefaultMaxFiles = 200_000

	// DefaultMaxBytes is the most a bundle may hold unpacked, in bytes: what the root volume of a
	// common AMI has. A decompression bomb grows a thousandfold.
	DefaultMaxBytes = 8_000_000_000

	// workers is how many goroutines write files. Two keep decompression and the file system busy at
	// the same time; more gained nothing on the two cores of a common instance.
	workers = 2

	// copyBuffer is the size of one write to a file, in bytes. Larger gained nothing.
	copyBuffer = 256 << 10
)

// Limits say how much an archive may hold, and whom to tell that the work goes on. A zero field means its
// default.
type Limits struct {
	MaxFiles int    // files, directories and links; DefaultMaxFiles
	MaxBytes int64  // contents of all files, in bytes; DefaultMaxBytes
	Alive    func() // called with every write, by any of the workers: for a watchdog; may be nil

	Narrow bool // take the permission to write from group and others of every file and directory

	// Warn is told, in a sentence, what was unpacked otherwise than the archive says; may be nil. One goroutine calls it.
	Warn func(text string)
}

func (l Limits) withDefaults() Limits {
	if l.Warn == nil {
		l.Warn = func(string) {}
	}
	if l.MaxFiles == 0 {
		l.MaxFiles = DefaultMaxFiles
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	return l
}

// Stats say what was unpacked.
type Stats struct {
	Files int   // regular files, hard links too
	Dirs  int   // directories, without the one unpacked into
	Links int   // symbolic and hard links
	Bytes int64 // contents of the files
}

// Unpack unpacks an archive of the given kind ("zip", "tar" or "tgz") into dir, which exists and is
// empty. A tar may be compressed whichever of the two names it goes by, as CodeDeploy's own
// `tar -x` allows; a zip called tar, or a tar called zip, is refused.
//
// Refused by name: absolute names and "..", empty and overlong names, links that leave the tree when
// followed through all the other links, entries below a link, names that are a file here and a
// directory there, devices, FIFOs and sockets, encrypted or exotically compressed zip entries,
// damaged or truncated archives, and more than the limits allow, counted while writing. A name that
// comes twice as a file is written as the last one says, as tar and unzip do.
//
// A single directory at the top that holds the appspec is left out, so that the appspec comes to lie
// in dir itself; what lies beside the only directory that has one is left out too, with a warning. Modes: a zip entry without a Unix mode gets 0644 or 0755; files are at least rw and
// directories rwx for their owner; whether others may write to them, see Limits.Narrow. A hard link to a symbolic link becomes
// another symbolic link with the same text. A zip's name is the one in its Unicode path field when it has one; else UTF-8;
// else it is read as code page 437, which is what the format says, with a warning. Modification times are kept.
//
// On an error dir holds what was written so far: the caller removes it.
func Unpack(ctx context.Context, archive *os.File, kind, dir string, l Limits) (Stats, error) {
	in, err := completeArchive(archive)
	if err != nil {
		return Stats{}, fmt.Errorf("cannot unpack the bundle: %w", err)
	}
	stats, err := unpack(ctx, in, kind, dir, l.withDefaults())
	if err != nil {
		return Stats{}, fmt.Errorf("cannot unpack the bundle: %w", err)
	}
	return stats, nil
}

func unpack(ctx context.Context, archive input, kind, dir string, l Limits) (Stats, error) {
	head := make([]byte, headSize)
	n, err := archive.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return Stats{}, err
	}
	if n == 0 {
		return Stats{}, errors.New("the archive is empty")
	}
	found := sniff(head[:n])
	switch {
	case kind != Zip && kind != Tar && kind != Tgz:
		return Stats{}, fmt.Errorf("unknown kind %q: CodeDeploy knows zip, tar and tgz", kind)
	case found == "": // the reader of this kind says what is wrong
	case found == kind, found != Zip && kind != Zip && (found == Tar || found == Tgz):
	default:
		return Stats{}, fmt.Errorf("its bundle type says %s, but its content is %s: register the revision with the right bundle type", kind, found)
	}

	t, err := newTree(dir, l)
	if err != nil {
		return Stats{}, err
	}
	defer t.close()
	if kind == Zip {
		err = unpackZip(ctx, t, archive)
	} else {
		err = unpackTar(ctx, t, archive, found == Tgz || found == "" && kind == Tgz)
	}
	if err != nil {
		return Stats{}, err
	}
	if len(t.kinds) == 0 {
		return Stats{}, errors.New("the archive holds no files")
	}
	if err := t.stripTopDir(); err != nil {
		return Stats{}, err
	}
	return t.finish(ctx)
}
