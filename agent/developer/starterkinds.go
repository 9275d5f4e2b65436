package developer

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What `usher init` knows of applications: how one of a kind is brought to a server, as far as its repository says.

// starter is an application as its repository shows it.
type starter struct {
	kind     string
	because  string   // the file that says so
	programs []string // that must be on the server; none where there is no build.sh
	steps    []string // of build.sh
	command  string   // of run.sh, in a shell; "" where nothing tells
	environ  []string // of the unit
	unit     string   // a unit that the repository has; "" for none
	file     string   // that shows that the revision is there, where nothing runs
	expose   string   // the port in a container
	port     string   // that validate.sh asks; "" for the unit's
	build    string   // of usher.yml
	bundle   string   // likewise
}

// starterKinds are the kinds by name, in the order in which a repository is asked: what has a server of its own comes before
// what is also used for tools and assets.
var starterKinds = []struct {
	name string
	look func(repo fs.FS, name string) *starter
}{
	{"ruby", lookRuby}, {"go", lookGo}, {"php", lookPHP}, {"python", lookPython}, {"node", lookNode}, {"procfile", lookProcfile},
	{"compose", lookCompose}, {"docker", lookDocker}, {"static", lookStatic}, {"other", lookOther},
}

// lookAt is the application in a repository; with a kind, as one of that. name is its own, for files and units.
func lookAt(repo fs.FS, name, kind string) (*starter, error) {
	var names []string
	for _, k := range starterKinds {
		names = append(names, k.name)
		if kind != "" && kind != k.name {
			continue
		}
		if s := k.look(repo, name); s != nil {
			s.kind = k.name
			s.procfile(repo)
			s.service(repo)
			return s, nil
		}
	}
	if slices.Contains(names, kind) {
		return nil, fmt.Errorf("nothing here is of kind %s", kind)
	}
	return nil, fmt.Errorf("--kind is %q: it must be one of %s", kind, strings.Join(names, ", "))
}

// have is the first of these files that the repository has, "" for none.
func have(repo fs.FS, names ...string) string {
	for _, name := range names {
		if info, err := fs.Stat(repo, name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// text is a file's, "" when it cannot be read.
func text(repo fs.FS, name string) string {
	all, _ := fs.ReadFile(repo, name)
	return string(all)
}

var webProcess = regexp.MustCompile(`(?m)^web:[ \t]*(.+?)[ \t\r]*$`)

// procfile takes the command of the repository's Procfile: that is how it is started elsewhere.
func (s *starter) procfile(repo fs.FS) {
	if web := webProcess.FindStringSubmatch(text(repo, "Procfile")); web != nil && s.runs() {
		s.command = web[1]
	}
}

func lookProcfile(repo fs.FS, _ string) *starter {
	if !webProcess.MatchString(text(repo, "Procfile")) {
		return nil
	}
	return &starter{because: "Procfile"}
}

// runs tells whether it is a process that systemd can run.
func (s *starter) runs() bool {
	return slices.Contains([]string{"ruby", "go", "python", "node", "procfile"}, s.kind)
}

// service takes the unit that the repository has, when it is the only one.
func (s *starter) service(repo fs.FS) {
	top, _ := fs.Glob(repo, "*.service")
	below, _ := fs.Glob(repo, "*/*.service")
	if all := slices.Concat(top, below); len(all) == 1 && (s.runs() || s.kind == "other") && plainName.MatchString(all[0]) {
		s.unit = all[0]
		if s.kind == "other" {
			s.because = s.unit
		}
	}
}

// plainName is a path that needs no quotes in a script.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)

func lookRuby(repo fs.FS, _ string) *starter {
	s := &starter{because: have(repo, "Gemfile"), programs: []string{"ruby", "bundle"}, environ: []string{"RACK_ENV=production"},
		steps: []string{"bundle config set --local deployment true", "bundle config set --local without development:test", "bundle install --quiet"}}
	rack := have(repo, "config.ru") != ""
	if s.because == "" || !rack && have(repo, "package.json") != "" { // a Gemfile for tools
		return nil
	}
	if have(repo, "config/application.rb") != "" {
		s.environ = append(s.environ, "RAILS_ENV=production", "RAILS_LOG_TO_STDOUT=1")
		if _, err := fs.Stat(repo, "app/assets"); err == nil {
			s.steps = append(s.steps, "RAILS_ENV=production SECRET_KEY_BASE_DUMMY=1 bundle exec rails assets:precompile")
		}
	}
	switch {
	case rack && strings.Contains(text(repo, "Gemfile"), "puma"):
		s.command = `bundle exec puma --port "$PORT"`
	case rack:
		s.command = `bundle exec rackup --host 0.0.0.0 --port "$PORT"`
	}
	return s
}

// lookGo is of a program that is built where it is deployed from: a server has no compiler.
func lookGo(repo fs.FS, name string) *starter {
	if have(repo, "go.mod") == "" {
		return nil
	}
	s := &starter{because: "go.mod", bundle: ".usher/bundle", command: "./" + name}
	from := ""
	if top, _ := fs.Glob(repo, "*.go"); slices.ContainsFunc(top, func(file string) bool { return mainPackage.MatchString(text(repo, file)) }) {
		from = "."
	} else if below, _ := fs.Glob(repo, "cmd/*/main.go"); len(below) > 0 && plainName.MatchString(below[0]) {
		from = "./" + path.Dir(below[0])
	}
	if from == "" { // a library, or its programs are elsewhere
		s.command, from = "", "."
	}
	s.build = "rm -rf .usher\nmkdir -p .usher/bundle\necho '*' > .usher/.gitignore\n" +
		"CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -o .usher/bundle/" + name + " " + from + "\ncp -R appspec.yml @dir@ .usher/bundle/\n"
	return s
}

var mainPackage = regexp.MustCompile(`(?m)^package main\b`)

func lookPHP(repo fs.FS, _ string) *starter {
	if have(repo, "composer.json") == "" {
		return nil
	}
	return &starter{because: "composer.json", programs: []string{"php", "composer"}, port: "80",
		steps: []string{"export COMPOSER_ALLOW_SUPERUSER=1", "composer install --no-dev --no-interaction --no-progress --optimize-autoloader"}}
}

func lookPython(repo fs.FS, _ string) *starter {
	s := &starter{because: have(repo, "requirements.txt", "pyproject.toml"), programs: []string{"python3"}, environ: []string{"PYTHONUNBUFFERED=1"}}
	needs := text(repo, "requirements.txt") + text(repo, "pyproject.toml")
	if s.because == "" || !plausible(repo, needs) && have(repo, "package.json") != "" { // for tools
		return nil
	}
	install := ".venv/bin/pip install --quiet --requirement requirements.txt"
	if s.because == "pyproject.toml" {
		install = ".venv/bin/pip install --quiet ."
	}
	s.steps = []string{"python3 -m venv .venv", install}
	wsgi, _ := fs.Glob(repo, "*/wsgi.py")
	django := have(repo, "manage.py") != "" && len(wsgi) > 0
	module := strings.TrimSuffix(have(repo, "app.py", "main.py", "wsgi.py"), ".py")
	switch {
	case django && strings.Contains(needs, "gunicorn"):
		s.command = `gunicorn --bind "0.0.0.0:$PORT" ` + path.Dir(wsgi[0]) + ".wsgi"
	case module != "" && strings.Contains(needs, "uvicorn"):
		s.command = "uvicorn --host 0.0.0.0 --port \"$PORT\" " + module + ":app"
	case module != "" && strings.Contains(needs, "gunicorn"):
		s.command = `gunicorn --bind "0.0.0.0:$PORT" ` + module + ":app"
	case module != "" && !django:
		s.command = "python3 " + module + ".py"
	}
	return s
}

// plausible tells whether a Python application is more than tools for another one.
func plausible(repo fs.FS, needs string) bool {
	return have(repo, "manage.py", "app.py", "main.py", "wsgi.py") != "" || strings.Contains(needs, "gunicorn") || strings.Contains(needs, "uvicorn")
}

func lookNode(repo fs.FS, _ string) *starter {
	if have(repo, "package.json") == "" {
		return nil
	}
	var file struct {
		Main    string            `json:"main"`
		Scripts map[string]string `json:"scripts"`
	}
	_ = json.Unmarshal([]byte(text(repo, "package.json")), &file) // what it does not say is asked for
	s := &starter{because: "package.json", environ: []string{"NODE_ENV=production"}}
	tool, all, prune := "npm", "npm ci --no-audit --no-fund", "npm prune --omit=dev --no-audit --no-fund"
	switch {
	case have(repo, "pnpm-lock.yaml") != "":
		tool, all, prune = "pnpm", "pnpm install --frozen-lockfile", "pnpm prune --prod"
	case have(repo, "yarn.lock") != "" && have(repo, ".yarnrc.yml") != "":
		tool, all, prune = "yarn", "yarn install --immutable", "yarn workspaces focus --all --production"
	case have(repo, "yarn.lock") != "":
		tool, all, prune = "yarn", "yarn install --frozen-lockfile --production=false", "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline"
	case have(repo, "package-lock.json", "npm-shrinkwrap.json") == "":
		all = "npm install --no-audit --no-fund"
	}
	s.programs, s.steps = []string{"node", tool}, []string{all}
	if file.Scripts["build"] != "" {
		s.steps = append(s.steps, tool+" run build")
	}
	s.steps = append(s.steps, prune)
	main := have(repo, "server.js", "index.js", "app.js")
	if fs.ValidPath(file.Main) && plainName.MatchString(file.Main) && have(repo, file.Main) != "" {
		main = file.Main
	}
	switch {
	case file.Scripts["start"] != "":
		s.command = tool + " start"
	case main != "":
		s.command = "node " + main
	}
	return s
}

var publishedPort = regexp.MustCompile(`(?m)^\s*-\s*["']?(?:[0-9.]+:)?([0-9]{1,5}):[0-9]{1,5}["']?\s*$`)

func lookCompose(repo fs.FS, _ string) *starter {
	s := &starter{because: have(repo, "compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"), programs: []string{"docker"},
		steps: []string{"docker compose --project-name @name@ pull --quiet --ignore-buildable", "docker compose --project-name @name@ build --quiet"}}
	if s.because == "" {
		return nil
	}
	if ports := publishedPort.FindStringSubmatch(text(repo, s.because)); ports != nil {
		s.port = ports[1]
	}
	return s
}

var exposedPort = regexp.MustCompile(`(?mi)^EXPOSE[ \t]+([0-9]{1,5})\b`)

func lookDocker(repo fs.FS, _ string) *starter {
	s := &starter{because: have(repo, "Dockerfile"), programs: []string{"docker"}, port: "8080", expose: "8080",
		steps: []string{`docker build --quiet --label deployed=@name@ --tag "@name@:${app##*/}" .`}}
	if s.because == "" {
		return nil
	}
	if port := exposedPort.FindStringSubmatch(text(repo, "Dockerfile")); port != nil {
		s.expose = port[1]
	}
	return s
}

func lookStatic(repo fs.FS, _ string) *starter {
	s := &starter{because: have(repo, "index.html", "public/index.html")}
	if s.file = s.because; s.file == "" {
		return nil
	}
	return s
}

func lookOther(fs.FS, string) *starter { return &starter{file: "appspec.yml"} }
