package standin

import "slices"

// Hooks are the hooks of a group, in the order in which they were put there.
func (c *Cloud) Hooks(groupName string) []Hook {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return slices.Clone(c.fleet.mustGroup(groupName).hooks)
}
