//go:build linux && !developer

package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// command is s as it is started by argv: in a process group and as a user of its own, with its own
// environment.
func command(s Script, argv []string) (*exec.Cmd, error) {
	if s.Sudo && os.Geteuid() != 0 {
		return nil, errors.New("`sudo: true` needs an agent that runs as root")
	}
	credential, login, err := runAs(s.RunAs)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Path = argv[0] // never looked up in the agent's own PATH
	cmd.Err = nil
	cmd.Dir = s.Dir
	cmd.Env = append(login, s.Env...)
	cmd.Env = append(cmd.Env, Tag+"="+s.ID)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential}
	return cmd, nil
}

// runAs is the credential for a user, nil when the agent is that user already, and the variables a
// login of that user sets. The name "" is the agent's own user. Users and groups are those of
// /etc/passwd and /etc/group.
func runAs(name string) (*syscall.Credential, []string, error) {
	own := strconv.Itoa(os.Geteuid())
	var account *user.User
	var err error
	if name == "" {
		account, err = user.LookupId(own)
		if err != nil { // a container's user without a name
			account, err = &user.User{Uid: own, Username: own, HomeDir: "/"}, nil
		}
	} else {
		account, err = user.Lookup(name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot run it as user %s: %w", name, err)
	}
	login := []string{
		"HOME=" + account.HomeDir, "USER=" + account.Username, "LOGNAME=" + account.Username,
		"SHELL=" + loginShell(account.Username),
	}
	if account.Uid == own { // whatever its name
		return nil, login, nil
	}
	if os.Geteuid() != 0 {
		return nil, nil, fmt.Errorf("cannot run it as user %s: the agent is not root", name)
	}
	ids, err := account.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot find the groups of user %s: %w", name, err)
	}
	credential := &syscall.Credential{}
	for _, id := range ids {
		gid, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot use group %s of user %s: %w", id, name, err)
		}
		credential.Groups = append(credential.Groups, uint32(gid))
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, fmt.Errorf("cannot use the ids of user %s: %w", name, err)
	}
	credential.Uid, credential.Gid = uint32(uid), uint32(gid)
	return credential, login, nil
}

// Login returns the variables that a login of a user sets, as every script has them: HOME, USER, LOGNAME and
// SHELL. "" is the agent's own user.
func Login(name string) ([]string, error) {
	_, login, err := runAs(name)
	return login, err
}

// Become makes this process the user's, with the user's groups, as a script that runs as that user is: there is no way back.
func Become(name string) error {
	credential, _, err := runAs(name)
	if err != nil || credential == nil {
		return err
	}
	groups := make([]int, 0, len(credential.Groups))
	for _, id := range credential.Groups {
		groups = append(groups, int(id))
	}
	err = syscall.Setgroups(groups)
	if err == nil {
		err = syscall.Setgid(int(credential.Gid))
	}
	if err == nil {
		err = syscall.Setuid(int(credential.Uid))
	}
	if err != nil {
		return fmt.Errorf("cannot run it as user %s: %w", name, err)
	}
	return nil
}

// startHint adds to the kernel's short word what it is usually about.
func startHint(s Script, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission) && s.RunAs != "":
		return fmt.Sprintf(" (user %s must be able to enter %s and to read the script)", s.RunAs, s.Dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf(" (its interpreter or its working directory %s is missing)", s.Dir)
	case errors.Is(err, syscall.ENOEXEC):
		return " (it is neither a script nor a program of this machine's architecture)"
	}
	return ""
}
