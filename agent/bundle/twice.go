package bundle

import "fmt"

// makeWay notes that a name is of kind k, and takes back the file or link that it was.
func (t *tree) makeWay(name, clean string, k kind) error {
	before, again := t.kinds[clean]
	switch _, isPending := t.links[clean]; {
	case !again:
		t.note(clean, k)
		return nil
	case before == isDir && k == isDir:
		return nil
	case before == isDir:
		return fmt.Errorf("entry %q is a %s, and earlier in the archive a %s", name, k, before)
	case isPending:
		delete(t.links, clean)
	default:
		if err := t.unwrite(clean); err != nil {
			return err
		}
	}
	t.kinds[clean] = k
	return nil
}

// removeFile removes a file that another entry replaces. Hard links keep what is in it.
func (t *tree) removeFile(name string) error {
	for _, l := range t.hard[name] {
		if before := t.links[l]; !before.hard || before.target != name {
			continue
		}
		if err := t.root.Link(name, l); err != nil {
			return fmt.Errorf("cannot make link %q: %w", l, err)
		}
		delete(t.links, l)
	}
	delete(t.hard, name)
	if err := t.at.remove(name); err != nil {
		return fmt.Errorf("cannot replace %q: %w", name, err)
	}
	return nil
}
