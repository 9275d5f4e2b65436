package standin

// retain keeps an instance whose termination hook was abandoned. It no longer counts toward the desired capacity: what
// was to be replaced is replaced now. mu is held.
func (i *Instance) retain() {
	i.dropActions()
	i.enter(i.state.base() + retained)
	i.makeGood()
	i.replaceable = false // made good already
}

// endRetained ends an instance that was retained; mu is held.
func (i *Instance) endRetained() {
	i.ended(i.state.last())
}
