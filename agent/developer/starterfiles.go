package developer

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/appspec"
)

//go:embed templates
var templates embed.FS

// starterFile is a file that `usher init` writes.
type starterFile struct {
	name, text string
	mode       fs.FileMode
}

// starterDirs are where hooks go: the first in which none of them is in the way.
var starterDirs = []string{"deploy", "usher", "deploy-usher"}

// script is a script of the appspec.
type script struct{ event, name, template, timeout string }

// scripts are those that an application of this kind needs.
func (s *starter) scripts() (all []script) {
	if len(s.programs) > 0 {
		all = append(all, script{"AfterInstall", "build.sh", "build.sh", "900"})
	}
	start, validate := "", "validate-file.sh"
	switch {
	case s.unit != "":
		start, validate = "start.sh", "validate-active.sh"
	case s.runs():
		start, validate = "start.sh", "validate-port.sh"
	case s.kind == "php", s.kind == "docker":
		start, validate = "start-"+s.kind+".sh", "validate-port.sh"
	case s.kind == "compose" && s.port == "":
		start, validate = "start-compose.sh", "validate-compose.sh"
	case s.kind == "compose":
		start, validate = "start-compose.sh", "validate-port.sh"
	}
	if start != "" {
		all = append(all, script{"ApplicationStart", "start.sh", start, "300"})
	}
	return append(all, script{"ValidateService", "validate.sh", validate, "180"})
}

// files are the appspec, its scripts, and what systemd runs. dir is the directory of the scripts.
func (s *starter) files(name, link, dir string) (all []starterFile) {
	fill := s.filler(name, link, dir)
	add := func(file, template string, mode fs.FileMode) {
		text, err := templates.ReadFile("templates/" + template)
		if err != nil {
			panic(err) // it is not in the program
		}
		all = append(all, starterFile{path.Join(dir, file), fill.Replace(string(text)), mode})
	}
	spec := "# What a deployment does on a server: `usher check .` says what it thinks of it.\nversion: 0.0\nos: linux\n\n" +
		"# All that is deployed becomes the release, and " + link + " leads to it.\nfiles:\n  - source: /\n    destination: " + link + "\n\nhooks:\n"
	for _, script := range s.scripts() {
		spec += "  " + script.event + ":\n    - location: " + dir + "/" + script.name + "\n      timeout: " + script.timeout + "\n"
		add(script.name, script.template, 0o755)
	}
	if s.runs() && s.unit == "" {
		add("run.sh", "run.sh", 0o755)
		add(name+".service", "service", 0o644)
	}
	return append([]starterFile{{appspec.Name, spec, 0o644}}, all...)
}

// filler replaces what stands between @ in a template. Nothing else is in them, as a template's own language would be one more to read.
func (s *starter) filler(name, link, dir string) *strings.Replacer {
	unit, unitFile, logs := name+".service", name+".service", "journalctl --no-pager --lines 20 --unit "+name+".service"
	if s.unit != "" {
		unit, unitFile = path.Base(s.unit), "../"+s.unit
		logs = "journalctl --no-pager --lines 20 --unit " + unit
	}
	port := s.port
	switch {
	case port == "":
		port = `$(sed -n 's/^Environment=PORT=//p' "${0%/*}/` + unitFile + `")`
	case s.kind == "docker":
		logs = "docker logs --tail 20 " + name
	case s.kind == "php":
		logs = ""
	}
	if s.kind == "compose" {
		logs = "docker compose --project-name " + name + " logs --tail 20"
	}
	if logs != "" {
		logs += " >&2 || true\n"
		if s.unit != "" || s.kind == "compose" && s.port == "" {
			logs += "\t\t"
		}
	}
	environ := ""
	for _, e := range s.environ {
		environ += "Environment=" + e + "\n"
	}
	steps := strings.NewReplacer("@name@", name).Replace(strings.Join(s.steps, "\n"))
	return strings.NewReplacer("@name@", name, "@link@", link, "@dir@", dir, "@unit@", unit, "@unitfile@", unitFile, "@port@", port, "@logs@", logs,
		"@environment@", environ, "@programs@", strings.Join(s.programs, " "), "@steps@", steps, "@file@", s.file, "@expose@", s.expose, "@command@", s.starts(dir))
}

// starts is what run.sh does.
func (s *starter) starts(dir string) string {
	text := "exec " + s.command
	switch {
	case s.command == "":
		text = "echo '" + dir + "/run.sh does not say yet how the application is started' >&2\nexit 1"
	case strings.ContainsAny(s.command, ";&|<>"): // of a Procfile
		text = s.command
	}
	if s.kind == "python" && s.command != "" {
		text = "export PATH=\"$PWD/.venv/bin:$PATH\"\n" + text
	}
	return text
}

// starterDir is the directory for the scripts.
func (s *starter) starterDir(repo fs.FS, name, link string) (string, error) {
	for _, dir := range starterDirs {
		free := func(f starterFile) bool {
			_, err := fs.Stat(repo, f.name)
			return f.name == appspec.Name || errors.Is(err, fs.ErrNotExist)
		}
		if info, err := fs.Stat(repo, dir); (err != nil || info.IsDir()) && !slices.ContainsFunc(s.files(name, link, dir), func(f starterFile) bool { return !free(f) }) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("there are files already where the scripts would be written, in %s: without an appspec.yml, nothing says what they are for", strings.Join(starterDirs, ", "))
}

// write writes a file that is not there yet.
func (f starterFile) write(repo *os.Root) error {
	if dir := path.Dir(f.name); dir != "." {
		if err := repo.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			return err
		}
	}
	file, err := repo.OpenFile(filepath.FromSlash(f.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = file.WriteString(f.text)
	return errors.Join(err, file.Close())
}
