//go:build linux && !developer

package platform

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/format"
	"usher/agent/image"
	"usher/hooks"
	"usher/systemd"
)

// baking is `usher bake` with its flags.
type baking struct {
	config    string
	root      string
	check     bool
	clean     cli.Names
	preloaded preload
}

// BakeCommand is `usher bake`.
func BakeCommand() cli.Command {
	var b baking
	return cli.Command{Name: "bake", Group: cli.Platform, About: "verify and clean a machine before an image is made of it",
		More: "It checks that the image is complete, preloads a revision if asked to, and takes away what belongs to this machine alone.\n" +
			"What is wrong is listed, one problem a line, and then nothing is changed.\n" +
			"exit codes: 0 the image is ready (--check: complete), 1 it is not, 2 usage",
		Flags: func(f *flag.FlagSet) {
			b.clean = nil
			f.BoolVar(&b.check, "check", false, "check only: change nothing")
			f.StringVar(&b.root, "root", "/", "the image is in `DIR`, and not this machine (needs root: it is entered by chroot)")
			f.StringVar(&b.config, "config", config.DefaultFile, "configuration `FILE`, as the image has it")
			f.Var(&b.clean, "clean", "`PARTS` to take away, with commas between them: "+strings.Join(image.Parts, ", ")+"; all; none (default "+strings.Join(image.Usual, ",")+")")
			b.preloaded.flags(f)
		},
		Run: func(ctx context.Context, in cli.Call) int {
			err := b.usage()
			if err == nil {
				err = b.preloaded.prepare(ctx) // here, with the network and the paths of who asks
				defer b.preloaded.close()
			}
			if err != nil {
				if _, typed := err.(cli.UsageError); typed {
					return in.Fail(cli.ExitUsage, err)
				}
				return in.Fail(cli.ExitFailed, err)
			}
			if err := b.enter(); err != nil {
				return in.Fail(cli.ExitFailed, err)
			}
			return b.bake(ctx, in.Stdout, in.Stderr)
		}}
}

// usage judges the flags.
func (b *baking) usage() error {
	switch {
	case len(b.clean) == 0:
		b.clean = image.Usual
	case slices.Contains(b.clean, "all"):
		b.clean = image.Parts
	case len(b.clean) == 1 && b.clean[0] == "none":
		b.clean = nil
	}
	for _, part := range b.clean {
		if slices.Contains(image.Parts, part) {
			continue
		}
		if near := hooks.Closest(part, image.Parts); near != "" {
			return cli.UsageError{Err: fmt.Errorf("there is nothing called %q to clean: did you mean %s?", part, near)}
		}
		return cli.UsageError{Err: fmt.Errorf("there is nothing called %q to clean: the parts are %s, all and none", part, strings.Join(image.Parts, ", "))}
	}
	if info, err := os.Stat(b.root); err != nil || !info.IsDir() {
		return cli.UsageError{Err: fmt.Errorf("cannot use --root %s: it is not a directory", b.root)}
	}
	return b.preloaded.usage()
}

// enter makes the image's tree the root of this process: links in it then lead where they will lead on an instance,
// and none leads out of it.
func (b *baking) enter() error {
	if b.root == "/" {
		return nil
	}
	if err := unix.Chroot(b.root); err != nil {
		return fmt.Errorf("cannot enter the image in %s (chroot): %w: only root may", b.root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot enter the image in %s: %w", b.root, err)
	}
	return nil
}

// bake checks the image, and when it is complete finishes it.
func (b *baking) bake(ctx context.Context, stdout, stderr io.Writer) int {
	var r doctor.Report
	cfg, err := config.Load(b.config)
	if err != nil {
		r.Problem("agent.yml", "correct it", "%v", err)
		cfg = config.Default() // the rest is looked at all the same
	} else {
		r.OK("agent.yml", "%s", b.config)
	}
	checkImage(ctx, &r, cfg, b.root != "/")
	layout := cfg.Layout()
	if b.check || r.Count(doctor.Problem) > 0 {
		checkUnitPaths(&r, layout, cfg)
	}
	if b.check || r.Count(doctor.Problem) > 0 {
		b.preloaded.judge(ctx, &r, layout, cfg)
	}
	said := func(done string) int {
		r.Print(stdout)
		warnings := format.Plural(r.Count(doctor.Warning), "warning")
		if n := r.Count(doctor.Problem); n > 0 {
			fmt.Fprintf(stdout, "The image is not ready: %s, %s. Nothing was changed.\n", format.Plural(n, "problem"), warnings)
			return cli.ExitFailed
		}
		fmt.Fprintf(stdout, "%s (%s, %s)\n", done, format.Plural(len(r), "check"), warnings)
		return cli.ExitDone
	}
	if b.check || r.Count(doctor.Problem) > 0 {
		return said("The image is complete.")
	}
	wrote, err := unitPaths(layout, cfg).Write()
	if err != nil {
		fmt.Fprintf(stderr, "usher bake: cannot write the service's paths: %v\n", err)
		return cli.ExitFailed
	}
	if checkUnitPaths(&r, layout, cfg); wrote {
		fmt.Fprintln(stdout, "wrote", systemd.PathsDropIn)
	}
	id, detail, err := b.preloaded.install(ctx, &r, layout, cfg)
	if err != nil {
		fmt.Fprintln(stderr, "usher bake:", err)
		return cli.ExitFailed
	}
	if r.Count(doctor.Problem) > 0 { // of the revision
		return said("")
	}
	code := said("The image is complete.")
	if id != "" {
		fmt.Fprintf(stdout, "Laid down %s (%s): a launch of this revision need not download it.\n", id, detail)
	}
	done, err := image.Clean(b.clean, image.Places{State: cfg.StateDir, Releases: cfg.Releases})
	for _, path := range done {
		fmt.Fprintln(stdout, "cleaned", path)
	}
	if err != nil {
		fmt.Fprintln(stderr, "usher bake:", err)
		return cli.ExitFailed
	}
	unix.Sync() // a snapshot of the disk may be next
	fmt.Fprintln(stdout, "Ready: power the machine off, and make the image.")
	return code
}
