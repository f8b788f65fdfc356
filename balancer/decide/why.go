package decide

// Why returns the reason that explains the weight best: of the last stage that changed it, else of the reading or rise/fall. It says also
// if the node is not in the kernel's table for that.
func Why(steps []Step) string {
	if last := len(steps) - 1; last >= 0 && steps[last].Name == stageFailure {
		return Why(steps[:last]) + "; " + steps[last].Reason
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].In != steps[i].Out {
			return steps[i].Reason
		}
	}
	for _, s := range steps {
		if s.Name == stageRiseFall && s.Reason != reasonUp {
			return s.Reason
		}
	}
	if len(steps) == 0 {
		return "no decision yet"
	}
	return steps[0].Reason
}

// reasonUp is the rise/fall reason that Why skips.
const reasonUp = "up"
