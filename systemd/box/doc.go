// Package box boots images under a real systemd, for tests: a machine with its own PID 1, its own
// journald, its own network with a metadata service at 169.254.169.254, and power that can be cut.
//
//	func TestMain(m *testing.M) { os.Exit(box.Main(m)) }
//
//	var image = &box.Image{Name: "shop", Install: func(b *box.Box) {
//		b.Copy(deb, "/root/usher.deb")
//		b.Run("dpkg", "--install", "/root/usher.deb")
//	}}
//
//	func TestPowerCutInAfterInstall(t *testing.T) {
//		i := image.Launch(t, box.Options{Metadata: metadata})
//		i.WaitForEntry("LIFECYCLE_EVENT=AfterInstall")
//		i.PowerCut()
//		i.Boot()
//		i.WaitRunning()
//		if got := i.Run("readlink", "/opt/app"); got != … {
//
// # From nothing to a running box
//
// The base is a minimal root of the release this machine runs, or of the one that $USHER_BOX_SUITE names (trixie), from the
// package sources the machine has. It is
// made by mmdebstrap once a week, for each set of packages that images ask for, and kept in
// $USHER_BOX_CACHE, or else in usher-box below the user's cache directory. An image is baked from it at
// its first use in a process: a box is booted, Install is run in it, it is switched off and cleaned as for
// an AMI (no machine id, no journal), and what it wrote becomes the layer under every instance. An
// instance writes into a layer of its own, which outlives its reboots and power cuts.
//
// # What a box has
//
// Its PID 1 is the distribution's systemd in systemd-nspawn, with namespaces of its own for all but
// users and time, and a journal on disk. Its network card ens5 (198.51.100.2) is joined to a network
// namespace in which only the test listens, on 169.254.169.254 and 198.51.100.1: see [Box.Listen],
// [Box.Serve] and [Box.Forward]. From there is no way to anywhere, and nothing resolves names.
//
// # What it needs
//
// Root, and the programs systemd-nspawn (systemd-container), mmdebstrap and ip (iproute2). Without them
// a test is skipped; it fails when CI is set. The cache must not be on an overlay, which cannot carry
// another, as the root of a container is.
//
// # What it leaves behind
//
// Nothing but the base: [Main] removes the rest and fails when something is left ([Leftovers]). A test
// process that is killed takes its boxes with it, and the next one removes its files and control groups.
//
// # Caveats
//
// A method of a box that cannot do what it is asked for ends the test, so that a test reads as a story:
// the methods are for the test's own goroutine. A power cut ends every process at once, but what they
// wrote and did not sync is still there, because the kernel is the machine's: it shows what a crash
// leaves, not what a disk loses. Limits of memory, processor and tasks are accepted by systemd and not
// enforced.
package box
