// Package box boots images under a real systemd, for tests: a machine with its own PID 1, its own
// journald, its own network with a metadata service at 169.254.169.254, and power that can be cut.
//
//	func TestMain(m *testing.M) { os.Exit(box.Main(m)) }
//
//	var image = &box.Image{
//		Name:    "shop",
//		Files:   func(root string) error { return copyFile(deb, root+"/root/usher.deb") },
//		Install: func(b *box.Box) { b.Run("dpkg", "--install", "/root/usher.deb") },
//	}
//
//	func TestRebootDuringAHook(t *testing.T) {
//		i := image.Launch(t, box.Options{Metadata: handler})
//		i.WaitForEntry("LIFECYCLE_EVENT=AfterInstall")
//		i.Reboot()
//		i.WaitRunning()
//		if got := i.Run("readlink", "/opt/app"); … {
//	}
//
// # From nothing to a running box
//
// The base is a minimal root of the distribution and from the package sources this machine has (mmdebstrap), made
// once a week and kept in a folder: $USHER_BOX_CACHE, or usher-box in the user's cache directory. An
// image is baked from it at its first use in a process: a box is booted, Install is run in it, it is
// cleaned as an AMI is (no machine id, no journal), and what it wrote becomes the layer under every
// instance. An instance writes into a layer of its own, which survives reboots and power cuts.
//
// # What a box has
//
// Its PID 1 is the distribution's systemd in systemd-nspawn, with namespaces of its own for all but users and time. Its
// network card ens5 (198.51.100.2) is joined to a network namespace in which only the test listens: on
// 169.254.169.254 and 198.51.100.1, see [Box.Listen] and [Box.Forward]. There is no way from there to anywhere.
//
// # What it needs
//
// Root, and the programs systemd-nspawn (systemd-container), mmdebstrap and ip (iproute2). Where they
// are missing tests are skipped, but fail when CI is set. The cache folder must not be on an overlay, which cannot carry another.
//
// # What it leaves behind
//
// Nothing but the base: [Main] removes the rest and looks for what is left ([Leftovers]). A test process that is killed takes
// its boxes with it; its folder and its control groups are removed by the next one.
//
// # Caveats
//
// The methods of a box end its test when the harness fails, so they are for the test's own goroutine.
// A power cut ends every process at once, but what they wrote and did not sync is still there: the
// kernel's memory outlives the box. Limits of memory, CPU and tasks are accepted and not enforced.
package box
