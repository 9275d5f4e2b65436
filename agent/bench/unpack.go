package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"usher/agent/bundle"
	"usher/agent/safepath"
)

// The tools that unpack, as people call them. Each is followed by `sync -f`.
const (
	whoUnzip  = "unzip; sync -f"
	whoTar    = "tar; sync -f"
	whoBsdtar = "bsdtar; sync -f"
)

// places are where it is unpacked: on the disk, and in memory, where figures repeat best.
const (
	onDisk   = "disk"
	inMemory = "memory"
)

// unpackGoals are the most that usher's time may be of the common tool's, by kind, size and place.
var unpackGoals = map[string]float64{
	"zip big memory": 0.32, "zip huge memory": 0.45,
	"zip big disk": 0.40, "zip huge disk": 0.75,
	"tgz big memory": 0.75, "tgz huge memory": 0.75,
}

func (b *bench) unpackSmall(ctx context.Context) error {
	return b.unpacks(ctx, small, b.rounds(15), b.rounds(15))
}
func (b *bench) unpackBig(ctx context.Context) error {
	return b.unpacks(ctx, big, b.rounds(7), b.rounds(7))
}

func (b *bench) unpackHuge(ctx context.Context) error {
	if b.quick {
		b.report.LeftOut = append(b.report.LeftOut, "unpack-huge")
		return nil
	}
	return b.unpacks(ctx, huge, 5, 3) // each on the disk leaves 46,000 inodes until the end
}

// unpacks unpacks each kind of archive in each place, in so many rounds.
func (b *bench) unpacks(ctx context.Context, c corpus, roundsInMemory, roundsOnDisk int) error {
	for _, kind := range []string{bundle.Zip, bundle.Tgz, bundle.Tar} {
		archive, err := b.archive(c, kind)
		if err != nil {
			return err
		}
		if err := coolDown(b.disk); err != nil {
			return err
		}
		for _, place := range []string{inMemory, onDisk} {
			where, rounds := b.disk, roundsOnDisk
			if place == inMemory {
				where, rounds = b.memory, roundsInMemory
			}
			if where == "" {
				b.report.LeftOut = append(b.report.LeftOut, b.part+" in memory ("+memory+" is no tmpfs)")
				continue
			}
			if err := b.unpack(ctx, c, kind, place, where, archive, rounds); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) unpack(ctx context.Context, c corpus, kind, place, where, archive string, rounds int) error {
	// into gives a subject a new directory, with nothing on its way to the disk that is another's.
	into := func(unpack func(context.Context, string) error) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			dir, err := b.directory(where)
			if err == nil {
				err = coolDown(where)
			}
			if err != nil {
				return 0, err
			}
			took, err := timed(func() error { return unpack(ctx, dir) })
			if place == inMemory && err == nil {
				err = safepath.RemoveAll(dir) // there it costs the next one nothing
			}
			return took, err
		}
	}
	tool := func(who, name string, args func(dir string) []string) subject {
		return subject{who, []string{name}, into(func(ctx context.Context, dir string) error {
			if err := command(ctx, os.Environ(), name, args(dir)...); err != nil {
				return err
			}
			return command(ctx, os.Environ(), "sync", "-f", dir)
		})}
	}
	field := []subject{{who: whoUsher, run: into(func(ctx context.Context, dir string) error { return unpackAsUsher(ctx, archive, kind, dir, c) })}}
	common := whoTar
	if kind == bundle.Zip {
		common = whoUnzip
		field = append(field, tool(whoUnzip, "unzip", func(dir string) []string { return []string{"-q", archive, "-d", dir} }))
	} else {
		field = append(field, tool(whoTar, "tar", func(dir string) []string { return []string{"-xf", archive, "-C", dir} }))
	}
	field = append(field, tool(whoBsdtar, "bsdtar", func(dir string) []string { return []string{"-xf", archive, "-C", dir} }))

	w := row{Name: fmt.Sprintf("%s, %s, %s", kind, c.name, place)}
	if atMost, ok := unpackGoals[kind+" "+c.name+" "+place]; ok {
		w.Goals = []goal{{Against: common, AtMost: atMost}}
	}
	return b.race(ctx, w, rounds, field...)
}

// unpackAsUsher unpacks and syncs as a deployment does.
func unpackAsUsher(ctx context.Context, archive, kind, dir string, c corpus) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	stats, err := bundle.Unpack(ctx, f, kind, dir, bundle.Limits{})
	if err != nil {
		return err
	}
	if stats.Files != c.files {
		return fmt.Errorf("%d files were unpacked, and the archive has %d", stats.Files, c.files)
	}
	return bundle.Sync(dir)
}
