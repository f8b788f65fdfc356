package score

// Kind is how a force changes the health.
type Kind string

// The kinds of force.
const (
	Down   Kind = "down"   // 0
	Up     Kind = "up"     // 100, regardless of the measured health
	Health Kind = "health" // a ceiling: the lower of the measured health and the force's value
)

// Kinds lists all kinds, strongest first.
func Kinds() []Kind { return []Kind{Down, Up, Health} }

// Valid reports whether k is a known kind.
func (k Kind) Valid() bool { return k == Down || k == Up || k == Health }

// Override is the effect of a force on a service.
type Override struct {
	Global bool // applies to every service; stronger than the service's own
	Kind   Kind
	Value  int // the ceiling of kind Health, 0 to 100
}

// rank orders overrides, strongest first: global down, up, health, then the service's down, up, health.
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

// Winning returns the index of the strongest override, -1 if the list is empty. The first of equals wins.
func Winning(list []Override) int {
	best := -1
	for i, o := range list {
		if best < 0 || o.rank() < list[best].rank() {
			best = i
		}
	}
	return best
}

// Apply returns the health with the override in effect.
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
