// Package doctor finds what is wrong with an image, a server or an environment before a launch does. Every
// finding is one line: ok, warning or problem, what it is about, what was seen, and what to do.
//
//	var r doctor.Report
//	r.Enabled("/", "usher.service")
//	r.Hook(hooks, doctor.HookWanted{Group: "web"})
//	r.Print(os.Stdout)
//
// What is looked at on disk needs no running systemd, so it works in an image's tree too. What is tried in AWS
// changes nothing there: see each check. Nothing is repaired.
//
// Caveats. A check tells what it saw at one moment, with the rights of who asks. A permission that is refused is a
// problem only where usher itself needs it; elsewhere it is a warning that something was not seen.
package doctor
