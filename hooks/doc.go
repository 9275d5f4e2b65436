// Package hooks is the contract with application teams: what a hook script may rely on, and what is
// made of what it does. A script that works with CodeDeploy's own agent works here; where the two
// differ, this page says so. The folder example holds a complete revision to copy from.
//
// # Events
//
// A deployment is a line of lifecycle events. An appspec names scripts for them; the scripts of one
// event run one after the other in the order of the appspec, then the role hooks of that event.
//
//	ApplicationStop   the scripts of the revision that is live now, if there is one; on the first
//	                  deployment of an instance nothing runs
//	DownloadBundle    (usher) the bundle is fetched, verified and unpacked; then every script of the
//	                  revision is checked, before any of them runs
//	BeforeInstall     nothing is installed yet: these scripts find an empty directory at /opt/app
//	Install           (usher) files and permissions of the appspec
//	AfterInstall      the release directory is complete; nobody but these scripts finds it at /opt/app
//	                  yet: compile, render, migrate
//	                  (usher) then /opt/app is flipped to the release, in one step
//	ApplicationStart  /opt/app is the release: start the application
//	ValidateService   is the application up? The last word on whether the instance enters service
//
// Install and DownloadBundle run no scripts. BeforeBlockTraffic, AfterBlockTraffic, BeforeAllowTraffic
// and AfterAllowTraffic, around CodeDeploy's own BlockTraffic and AllowTraffic, run only when the
// CodeDeploy service orders them, in a deployment with a load balancer; a launch has none of them.
//
// # When a script fails
//
// The first script that fails ends its event, and with it the deployment, and what served before serves again:
//
//	ApplicationStop of the failed release, if its ApplicationStart was begun; it has a minute, and a failure is a warning
//	what its scripts have left running is ended: TERM, and KILL 5 seconds later
//	/opt/app points again to what was live before, if it was flipped; files outside it are restored
//	ApplicationStart and ValidateService of what was live before
//
// When one of the last two fails, what is live does not work, and that is said: in the journal, by `usher status` and to
// CodeDeploy. An instance that is being launched does not enter service. The failed release is kept for diagnosis.
//
// So an ApplicationStart script starts the application whether or not one runs: `systemctl restart app`. After
// `systemctl start app`, which does nothing while it runs, the release before would go on serving; where no
// ApplicationStop script stops it, that is a warning of `usher check`.
//
// One thing is no failure of the deployment: a script of the release that is live, in ApplicationStop,
// BeforeBlockTraffic or AfterBlockTraffic. It ends its event with a warning, and the deployment goes on, because a new
// revision cannot correct the old one's scripts and would never get in.
//
// # Twice
//
// A deployment unpacks its bundle each time, also of a revision that was deployed here before: its scripts find what was
// built, and not what they made of it. Only a release that an image brings unpacked is taken as it lies. `usher rollback` on a
// server is the exception: it goes back to a release as it was left, and runs neither its BeforeInstall nor its AfterInstall again.
//
// An event may be run again from its first script, after the agent was killed. ApplicationStart and ValidateService are run
// again also when the instance has rebooted after them, before the deployment had ended. When it has rebooted in the middle of an
// event of CodeDeploy's, or anywhere in a launch, the bundle is unpacked anew and all scripts are run again: none finds in the
// release what a power cut has torn. What they have written elsewhere they find as the cut has left it. Write scripts that may
// be run twice. No script ever runs twice at once: what is left of an interrupted run is ended before the next one begins.
//
// # Working directory
//
// In every event it is the directory that holds the appspec: the revision as it was unpacked. So
// `./scripts/lib.sh` and `cat VERSION` find what is in the bundle. (CodeDeploy's agent leaves its own
// working directory.) In ApplicationStop, and in the ApplicationStart and ValidateService of a release that
// comes back, it is that release's own revision. The release directory, where the appspec's files are, is
// $USHER_RELEASE_DIR; it is another directory unless the appspec has no `files`.
//
// A script that is to run under AWS's own CodeDeploy agent too finds its bundle by ${0%/*}/.., in any working directory, and
// what was installed by ${USHER_RELEASE_DIR:-/opt/app}: that agent has no releases, and installs at the destination
// itself. The scripts of the folder example do so.
//
// The script itself is the one that was checked: the appspec, and everything in the top-level directories that hook scripts
// are in, are kept apart as the bundle had them (/opt/app-releases/ID.scripts). As long as they are the same in the
// release, and only root can change them there, a script is run from there. Once a hook has given the release away
// (`chown -R`), or changed a script, it is run from where it is kept: ${0%/*} is then a directory of that copy, with what lay
// beside the script, and ${0%/*}/.. has links to the rest of the release. Write to the working directory, not there. A script that is
// not run as a hook has changed it draws a warning. That is seen before each script. But a shell reads its script while it runs
// it: a script that gives away the directory it is in can be added to until it ends, so let that be its last command.
//
// # Environment
//
// These variables, and no others; one without a value is not set. What the agent has in its own
// environment does not reach a script, and neither does what /etc/profile and /etc/profile.d set. (CodeDeploy's own
// unit reads /etc/profile when the agent starts, and hands all of it on, so that its scripts see a PATH, a JAVA_HOME
// or proxies from there. Put such things into the script, the application's unit, or a file that both read; a script
// that reads /etc/profile itself does so under -e, which is not made for it.) A shell's own
// variables (PWD, SHLVL) come on top.
//
//	LIFECYCLE_EVENT          the event
//	APPLICATION_NAME         CodeDeploy's application
//	DEPLOYMENT_ID            d-ABCDEFGHI; at a launch, the deployment the group's revision came with
//	DEPLOYMENT_GROUP_NAME    the deployment group
//	DEPLOYMENT_GROUP_ID      its ID
//	BUNDLE_BUCKET            of a revision in S3; likewise
//	BUNDLE_KEY               its key,
//	BUNDLE_VERSION           its version, when the bucket keeps versions,
//	BUNDLE_ETAG              and its ETag
//	BUNDLE_COMMIT            of a revision on GitHub
//	INSTANCE_ID              i-0123456789abcdef0
//	AWS_REGION               the instance's Region, which AWS's SDKs and CLI take from here
//	AUTO_SCALING_GROUP_NAME  not set on an instance without one
//	USHER_RELEASE_DIR        the release directory of the revision the script is part of: the one this
//	                         deployment installs, but in ApplicationStop the one that is live, and in
//	                         the scripts of a release that comes back, that one
//	USHER_PREVIOUS_RELEASE   what was live when the deployment began: a release directory, or the base
//	                         that is baked into the AMI; not set when nothing was
//	USHER_SCRIPT             which script this is, on this instance; by it usher knows the processes a
//	                         script has started, so leave it in their environment
//	HOME USER LOGNAME SHELL  of the user the script runs as
//	PATH                     /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
//	LANG                     C.UTF-8
//
// As with CodeDeploy, all other values are the new deployment's in ApplicationStop too, although the
// script is the old revision's. Credentials come from the instance's role, through the metadata service.
//
// Standard input is /dev/null, and the umask is 022.
//
// # Exit status
//
// 0 is success, everything else is failure, and so is a signal. A shell gives 127 for a command it did
// not find and 126 for one it could not run.
//
// # errexit
//
// A shell goes on when a command fails, and a script whose last command succeeds then counts as a
// success: a migration fails, the application starts, the instance enters service with the wrong
// schema. `set -e` (errexit) ends the script instead. What usher does about it is the setting
// `errexit` of the agent:
//
//	enforce  every script for sh, bash or ksh is run with -e, whatever it says. The default.
//	require  a script that does not switch errexit on by itself, before its first command that can fail,
//	         is refused, and with it the revision, before anything of it runs.
//	report   scripts are run as by CodeDeploy's agent. Each command at which enforce would have ended one
//	         is a warning in the journal, and their number stands in the deployment's summary. For a team
//	         that comes from CodeDeploy: run it for a week, correct what it names, then enforce.
//	off      CodeDeploy's behaviour. Nothing is said.
//
// Write `set -euo pipefail` on the second line of a bash script and `set -eu` in a POSIX one, or -e on
// the first line. In a function, a branch, a subshell or a pipeline it comes too late or does not last.
// Unless the setting is off, these are pointed out as well, because each silently takes errexit's
// effect:
//
//	local x=$(cmd)       likewise export, readonly, declare, typeset: their own status replaces that of
//	                     cmd. Assign first, then declare.
//	a | b                only b counts without `set -o pipefail`; POSIX sh does not have that option
//	set +e               up to the next `set -e`, or to the end
//	f || x, if f, ! f    errexit is off within the function f, whatever f itself says; a group in
//	                     braces or parentheses likewise
//	x=$(a; b)            bash switches errexit off inside: only b counts. Write a && b.
//	bash -c "a; b"       -e is an option of one shell, and this is another: bash -ec. Likewise su -c, runuser -c,
//	                     a text for `bash <<END`, docker exec ... sh -c, and scripts of the revision that a script runs.
//	trap 'exit 0' EXIT   every failure becomes a success; likewise a function that ends so
//	wait                 without a PID has status 0
//
// `set +e` is a script's own way out, and draws one warning: what stands behind it runs as with CodeDeploy's agent.
//
// And these, each at its line with what to write instead, because they fail in normal operation, where CodeDeploy's
// agent goes on and -e ends the script: pgrep, pkill, killall, kill, docker stop, service ... stop, systemctl
// stop|status|is-active, crontab -l, grep, diff, cmp, id USER, getent, which, useradd, mkdir without -p, ln -s without -f, rm
// and mv of what may not be there, ((i++)), read -d "", a command whose errors go to /dev/null, under
// pipefail head behind what has no end (/dev/urandom), a command whose status the next line reads with $?, a function that ends with
// `[ ... ] && ...`, read without input, and what BeforeInstall does at a destination outside of the link that Install makes (cd, chown, cp, ls). A condition (if, while, !, || and
// before &&) is none of these, and what makes or removes something is none where the script asks before. Files of the revision that a script reads with `.` are looked at too.
//
// When errexit ends a bash script, the failure says at which command: file, line, the command and its status,
// in the journal, at CodeDeploy and in `usher deploy`. bash tells by its ERR trap, which a file sets that it reads
// before the script (BASH_ENV, not set any more when the script begins). A script can notice: $- has an E, `trap -p`
// lists the trap, and an ERR trap of its own takes its place; a script with ERR in its text, or with -v on its first line, is left alone (a Korn shell also with -x). A
// /bin/sh that is bash tells too. ksh93 and mksh tell where they can (their ERR trap is set by a file that reads the
// script by `.`, so $- has a c): not of a script that reads other files, or has a pipeline, a subshell or [[ ]] as a command of its own, of
// which they know the wrong line. There, and in dash, which knows none, `report` says nothing, and a failure names up to three commands of
// those above that may have had its status.
//
// A script in any other language is judged by its exit status alone, and zsh is one of these.
//
// # What is checked before
//
// Every script of a revision is there and is a regular file; its interpreter and its user
// are on the instance; it has no Windows line ends; it parses, if it is for sh, bash or ksh: the
// shell itself (with -n) has the last word. An empty script succeeds, with a warning. The path of an interpreter that does not
// begin with / is taken from /, with a warning: the kernel takes it from the working directory, and that of
// CodeDeploy's agent is /. A missing executable bit is only a warning: a script is run
// through the interpreter its first line names, one without a first line by /bin/sh, and a program gets
// the bit. `usher check` says all this before you upload, and lists what the scripts need of the server: users,
// interpreters, commands that not every server has, variables that nobody sets.
//
// A user or an interpreter that is missing is no error when a script that runs before may bring it: one of BeforeInstall, or one of another
// event that has the name in its text. There is a warning, and it is looked for again before the scripts of each event after that.
//
// # What is live until the flip
//
// Until the flip /opt/app (or the configured link) is what is live: the last good release, or the base of the image. With
// CodeDeploy's agent it is the destination, and scripts that come from there empty it in BeforeInstall and build there in
// AfterInstall.
//
// Where scripts are units of systemd, as on every server with the packaged service, such scripts work as written, and no
// script of these two events can touch what is live:
//
//	in both          the base and all releases but the new one are read-only, by whatever path a script
//	                 comes ("Read-only file system"); all else is written as ever
//	in BeforeInstall /opt/app leads to an empty directory, as the destination is on a new server. What
//	                 scripts leave there is copied into the release, with owners and modes, except where
//	                 the release has something of that name; the journal says so
//	in AfterInstall  /opt/app leads to $USHER_RELEASE_DIR, which is its real path too (readlink -f, pwd
//	                 -P): `cd /opt/app && npm ci`
//	to all others    /opt/app is what is live, until the flip: also to what a script has others do, such
//	                 as systemctl, systemd-run, docker or cron. What it leaves running sees the flip
//
// What is live can be read at $USHER_PREVIOUS_RELEASE. A script that wants it at the link, read-only, has the line
// `# usher: live`.
//
// /opt/app is a link, not a folder. A script cannot remove, rename or replace it (`rm -rf /opt/app`: "Device or resource
// busy"; `rm -rf /opt/app/*` works). And `chown -R USER /opt/app` and `find /opt/app` do not follow a link, before the flip
// and after it: they do nothing, with success. Write /opt/app/. In these two events removal and `chown -R` are errors and the
// revision is refused, and so is `rm -rf /opt/app/*` in AfterInstall, which has just been installed; elsewhere they are warnings.
//
// All other lines of the two events that name the link are warnings that say what it is there. `usher rehearse`, and an agent with `--runner processes`,
// cannot show a script another link, nor make anything read-only: there, and in a script that mounts something, a line that
// destroys something at the link (rm, mv, chown -R, find -delete, rsync --delete) is an error and the revision is refused,
// because nothing would be left to go back to. $USHER_RELEASE_DIR is the right word everywhere. Variables that the script sets to
// a known text, and `cd`, are followed; what a script works out is not.
//
// All this needs a mount namespace of the script's own, in which a mount would be seen by nobody else and end with it. One that
// mounts something for the machine is therefore run without: a shell script that has the command itself (mount, umount,
// sshfs, s3fs, mount-s3 and the like), and any script with the line `# usher: mounts`, for what mounts in a program or in
// another file.
//
// Paths below /opt/codedeploy-agent are pointed out: the unpacked revision is the working directory instead.
//
// # Timeouts
//
// A script has 3600 seconds, or as many as `timeout:` says; more than an hour is allowed. When its time
// is up, or the whole launch has run out of time, it and all it has started get TERM, and KILL 5 seconds
// later. It then counts as failed, with whatever status it ends. (CodeDeploy's agent sends no KILL and
// waits.)
//
// # Processes in the background
//
// A script has ended when its own process has. What it leaves running goes on, holds nothing up, may go
// on writing, and is named in a warning; what it writes from then on is not kept. (CodeDeploy's agent
// waits for the output to be closed, and fails the script when its timeout is up.) Such a process is
// nobody's: it is not started again when it dies or when the instance reboots, its output may be closed
// when the agent ends, and it is ended when the same event of the same deployment is run again. Start
// an application through systemd (`systemctl restart app`).
//
// # runas and sudo
//
// `runas: USER` runs the script as that user, with the user's groups; there is no login, so nothing of
// the user's profile is read, and the limits are those of the agent's unit. (CodeDeploy's agent runs `su USER -c SCRIPT`: PAM
// sets the limits of /etc/security/limits.conf there, and the environment of /etc/environment. A limit that an application
// needs, such as the number of open files, belongs into its unit.) A script that has no first line `#!` is run by
// the user's login shell, as su does it, without runas by /bin/sh; a login shell that is no sh, bash or ksh leaves it
// to /bin/sh as well. The user is one in /etc/passwd, and must be able to read the script and
// enter its directory. The agent runs as root, so `sudo: true` changes nothing. An agent that is not
// root refuses both, except for `runas` of its own user.
//
// # Role hooks
//
// The AMI of a role (application server, job server) can bring scripts of its own, for any application:
// the files in /etc/usher/hooks.d/EVENT/, run after the revision's in the order of their names. They
// get the same environment and working directory, run as the agent's user with the timeout of 3600
// seconds, and are checked in the same way. What editors and package managers leave (dotfiles, `*~`,
// `*.dpkg-*`, `*.ucf-*`, `*.rpmnew`, `*.rpmsave`, `*.rpmorig`) is skipped. A folder that is not named after an
// event that runs scripts is an error, and so is a hook that every user could change.
//
// # Output
//
// What a script writes to its standard output and standard error goes to the journal line by line, as
// it comes, with the deployment, the event and the script as fields. Terminal colours are dropped; other
// control characters and bytes that are not UTF-8 are written \xNN. A line longer than 8 KiB is cut in
// pieces. Of one script, 20000 lines and 4 MiB are kept, and what comes after is counted; the last 20
// lines are known in any case, and the very last one is part of the message when the script fails. Under
// systemd, where a script is a unit of its own, journald keeps the limit instead: about 20000 lines in 30
// seconds, and of a script that writes more just before it ends the last ones are lost; a warning says so. Both
// streams are read together, but they are two: lines written to them at nearly the same time may
// change places, and then those of standard error come last. Do not write secrets.
package hooks
