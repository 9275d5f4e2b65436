// Package appspec reads appspec.yml, the page in which a revision says what is copied where, with
// which permissions, and which scripts run at which lifecycle event.
//
// The grammar is CodeDeploy's for EC2 and on-premises Linux servers, the whole of it:
//
//	version: 0.0                        # required
//	os: linux                           # required
//	file_exists_behavior: OVERWRITE     # or DISALLOW, RETAIN
//	files:
//	  - source: /                       # in the bundle; a directory's contents, or one file
//	    destination: /opt/app           # a directory
//	permissions:
//	  - object: /opt/app/bin            # an installed directory (what is in it) or file
//	    pattern: "*.sh"                 # names in it; the default ** is everything below it
//	    except: [setup.sh]              # names in it
//	    type: [file]                    # file, directory; default both
//	    owner: deploy
//	    group: deploy
//	    mode: 0755
//	    acls: ["u:www-data:rx"]
//	    context: {name: system_u, type: httpd_sys_content_t, range: s0}
//	hooks:
//	  AfterInstall:
//	    - location: scripts/migrate.sh  # in the bundle
//	      timeout: 300                  # seconds; default 3600
//	      runas: deploy
//	      sudo: true
//
// An error is what cannot work; what CodeDeploy's agent passes over is a warning, with line, column and the
// nearest right word, because a key nobody reads is a step that silently does not happen. One kind of it is an
// error all the same: a script that would never run. Parse reports all problems at once, so that a developer
// mends them in one go; no Spec is returned unless there are only warnings.
//
// # Where it differs from CodeDeploy
//
// Errors here, and accepted by CodeDeploy's agent (1.8.1):
//   - scripts that would never run: an unknown event, an event that runs no scripts (Install, DownloadBundle,
//     BlockTraffic, AllowTraffic), an event beside `hooks:` instead of below it, `hook:` and the `Hooks:` of
//     Lambda and ECS;
//   - a second one of a key that names scripts or files (there the last one wins), a near miss of a key without which
//     its entry means nothing;
//   - file_exists_behavior within an entry of files and not at the top: nobody reads it there, and its files would end the
//     deployment;
//   - a source or location that leads out of the bundle with ../;
//   - a destination with ~, which is the home of nobody in particular, a variable, or backslashes (there $HOME and
//     C:\app are names of directories), or that is empty (there it is /);
//   - timeout 5m (there 5 seconds), 0300 (octal to YAML 1.1), and the other ways of YAML 1.1 to write a number;
//   - an empty mode (there 000), numbers where text is meant, text that runs over two lines, tags;
//   - ACL entries such as g:rwx or d:7, which CodeDeploy reads as a user named g or d, and two
//     entries for the same user;
//   - more than one YAML document, of which it reads the first, and control characters.
//
// Taken here, and refused there: a mode such as 0755 (see below), a byte order mark, the aliases of YAML where
// its Ruby is 3.1 or later.
//
// Read in another way:
//   - mode: the digits as they are written. 0644, 644 and "0644" are all rw-r--r--; CodeDeploy,
//     whose YAML takes the leading zero for octal, makes 0420 of the first.
//   - context: `user`, the key AWS documents, and `name`, the one its agent reads, are the same.
//
// Warnings, because CodeDeploy deploys it though it does nothing with it: any other unknown key (`overwrite: yes`
// in an entry of files, which reads as if it were file_exists_behavior; runAs, which is not runas), a pattern or
// except with a / in it, or empty, an empty type, a permission that sets nothing, the role of a context.
//
// Warnings, because it works and was perhaps not meant: a location with a / in front (the top of the bundle, as in
// source), destination / (each file goes where its path in the source says), a relative destination or object
// (taken from /, where its agent works), an owner or group that is a number, an empty source (the whole bundle) or runas
// (none), timeout 300.5 or 300s (300) and more than 48 hours, which Auto Scaling allows no launch (48 hours), sudo with
// anything but true or false, yes or no, on or off (true, "false" in quotes too), any other key given twice (the last
// one wins).
//
// # What it does not know
//
// Whether sources and scripts exist, whether users do, whether an object is a file or a directory,
// whether two entries install or change the same path: these are judged where the bundle is at
// hand. Of those, Permission.CheckFile has the rules that concern permissions.
//
// Nothing in a bundle makes this package use much time or memory: size, nesting, number of tokens
// and use of aliases are bounded.
package appspec
