package score

// Kind is a way to force the health of a service.
type Kind string

// The kinds of force.
const (
	Down   Kind = "down"   // 0
	Up     Kind = "up"     // 100, whatever is measured
	Health Kind = "health" // a ceiling: the lower of the measured health and the given number
)

// Kinds lists all kinds, the strongest first.
func Kinds() []Kind { return []Kind{Down, Up, Health} }

// Valid tells whether k is a known kind.
func (k Kind) Valid() bool { return k == Down || k == Up || k == Health }

// Override is what a force means for the health of one service.
type Override struct {
	Global bool // forces every service, and goes before the service's own
	Kind   Kind
	Value  int // for Health: the ceiling, 0 to 100
}

// rank orders overrides, the strongest lowest: global down, up, health, then the service's down, up, health.
func (o Override) rank() int {
	r := len(Kinds())
	for i, k := range Kinds() {
		if o.Kind == k {
			r = i
		}
	}
	if !o.Global {
		r += len(Kinds()) + 1
	}
	return r
}

// Winning is the index of the override that is in effect, -1 when the list is empty. Of equals the first wins.
func Winning(list []Override) int {
	best := -1
	for i, o := range list {
		if best < 0 || o.rank() < list[best].rank() {
			best = i
		}
	}
	return best
}

// Apply gives the health to report for what was measured under an override.
func (o Override) Apply(measured int) int {
	switch o.Kind {
	case Down:
		return 0
	case Up:
		return Max
	case Health:
		return min(max(o.Value, 0), measured)
	}
	return measured
}
