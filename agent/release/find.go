package release

// ByPath is the release whose directory target is.
func (l Layout) ByPath(target string) (Release, bool) {
	all, err := l.All()
	if err != nil {
		return Release{}, false
	}
	for _, r := range all {
		if r.Tree == target {
			return r, true
		}
	}
	return Release{}, false
}

// IsLive says whether the link points to a release.
func (l Layout) IsLive(id string) bool {
	_, live, err := l.Live()
	return err == nil && id != "" && live == id
}

// Has says whether a release is on the disk.
func (l Layout) Has(id string) bool { _, ok := l.Load(id); return ok }

// Fallback is target if it is there, else the base if that is there, else "": no link.
func (l Layout) Fallback(target string) string {
	for _, dir := range []string{target, l.BasePath()} {
		if dir != "" && isDir(dir) {
			return dir
		}
	}
	return ""
}
