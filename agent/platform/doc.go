// Package platform is the commands of the engineer who makes the image and the groups: bake, doctor, attach, iam-policy.
//
//	cli.Program{Commands: []cli.Command{platform.DoctorCommand(platform.Examine), platform.BakeCommand(), ...}}
//
// The contract:
//
//   - doctor changes nothing, on the server and in AWS: it asks what the agent asks, and looks at a host command
//     without taking it. Every line is a finding of package doctor: what it is about, and what to do.
//   - bake runs on the machine an image is made of, as root, and may be run again. It writes what the agent of an instance
//     finds (the configuration's drop-in, a revision in the folder of releases) and removes what belongs to this machine alone.
//   - attach shows the difference of every hook before it changes one, and asks a person. A failure on one group does
//     not keep it from the others.
//   - iam-policy asks nobody: the policies are made of the calls that the program makes (package policy).
//
// Doctor of an environment, attach and iam-policy are for any system; what looks at an image or a server is for Linux.
//
// What is looked at in one place for a server and an image alike is in imagecheck.go.
package platform
