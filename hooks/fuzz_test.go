package hooks

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Whatever a script holds, it is judged without a panic; what is said has a place in the file and is
// one line; and `set -e` on the second line always satisfies.
func FuzzScript(f *testing.F) {
	for _, seed := range []string{
		"#!/bin/sh\nset -e\nfalse\n",
		"#!/bin/bash -eu\nset -o pipefail\na | b && c || d &\n",
		"#!/usr/bin/env -S A='b c' bash -x\nlocal x=$(a; b) y=`c`\n",
		"#!/bin/mksh\ntypeset -i x\ncase $x in 1) a ;; *) set +e ;; esac\n",
		"f() { a; b; }\nif f; then ! f; fi\nuntil { a; b; }; do (set +e; a); done\n",
		"cat <<E | tee x\n$(a)\nE\nexit 0\n(((",
		"#!/bin/bash\ntime f |& coproc x { a; }\n[[ a ]] && ((1)); let x=1; select x in a; do a; done\n",
		"#!/bin/sh\n\"\" ''\n$x set -e\n\"$(set +e)\"\n>x\n",
		"#!/bin/bash\nset -o\nset +o errexit -e\nshopt -so errexit pipefail\nset - -e\n",
		"#!/bin/bash\n> >(a; b) < <(a) x=(\"$(a; b)\") declare -A y=([a]=$(b))\n",
		"\xef\xbb\xbf#!/bin/sh\r\nset -e\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return // deep nesting has its own test
		}
		in := interpret(text)
		for _, shell := range []string{"sh", "bash", "ksh"} {
			in.shell = shell
			stmts, err := parse(text, shell)
			if err != nil {
				continue
			}
			got := checkErrexit(stmts, text, Script{}, in, Require)
			for _, p := range got {
				if p.Line < 0 || p.Line > 1+bytes.Count(text, []byte("\n")) || p.Line > 0 && p.Col < 1 || strings.ContainsAny(p.Message, "\n\r") {
					t.Fatalf("%s says %q", shell, p)
				}
			}
			if again := checkErrexit(stmts, text, Script{}, in, Require); !slices.Equal(got, again) {
				t.Fatalf("%s says %v, then %v", shell, got, again)
			}
			if off := checkErrexit(stmts, text, Script{}, in, Off); len(off) > 0 {
				t.Fatalf("switched off, %s says %v", shell, off)
			}
			_, body, _ := bytes.Cut(text, []byte("\n"))
			safe, err := parse(slices.Concat([]byte("#!\nset -e\n"), body), shell)
			if fatal := Errors(checkErrexit(safe, slices.Concat([]byte("#!\nset -e\n"), body), Script{}, interpreter{shell: shell}, Require)); err == nil && len(fatal) > 0 {
				t.Fatalf("with set -e on its second line, %s says %v", shell, fatal)
			}
		}
	})
}

// Whatever a first line says: Enforce either switches errexit on, by the rules of the shell's own
// options, or says that it cannot, and only ever adds -e.
func FuzzFirstLine(f *testing.F) {
	for _, seed := range []string{
		"#!/bin/sh", "#! /bin/bash -eu ", "#!/bin/bash --posix", "#!/bin/bash +eo errexit", "#!/usr/bin/env bash",
		"#!/usr/bin/env -S -i A=b bash -o pipefail # x", "#!/usr/bin/env -vS '-u' HOME \"sh\" --", "#!/bin/busybox sh", "#!", "#!/bin/ksh\r", "\x7fELF", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		in := interpret([]byte(line))
		if in.shell == "" || in.opaque || in.binary || badFirstLine([]byte(line), in) != "" {
			return
		}
		options := withErrexit(in.options)
		if errexit, _ := optionChanges(options); errexit != on {
			t.Fatalf("%q: -e is not in effect in %q", line, options)
		}
		i := slices.Index(options, "-e")
		if !slices.Equal(slices.Delete(slices.Clone(options), i, i+1), in.options) && !slices.Contains(in.options, "-e") {
			t.Fatalf("%q: %q became %q", line, in.options, options)
		}
		if len(in.kernel) == 0 || len(in.command) == 0 || in.name == "" {
			t.Fatalf("%q: %+v", line, in)
		}
	})
}
