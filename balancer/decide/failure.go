package decide

// failed reports whether connections to the node are lost: it is down, and no operator forced that on its agent; or it has not responded
// yet. A drain is no failure, and a drained node may fail.
func (st State) failed() bool {
	return st.Phase == Down && !st.ForcedDown || st.Phase == Unknown && !st.Adopted
}

// removeFailed decides which nodes are not to be in the kernel's table: of those without weight, those that failed, if the policy says so.
func removeFailed(p Policy, members []Member) {
	for i := range members {
		m := &members[i]
		m.State.InCluster.Removed = p.Remove && m.Weight == 0 && m.State.failed()
		switch {
		case !m.State.InCluster.Removed:
		case m.State.Phase == Unknown:
			m.step(stageFailure, 0, "not in the kernel's table until then (on_failure = remove)")
		default:
			m.step(stageFailure, 0, "removed from the kernel's table until it is back (on_failure = remove)")
		}
	}
}
