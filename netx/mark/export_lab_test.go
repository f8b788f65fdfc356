//go:build lab

package mark

// Generation counts the transactions of everybody in the namespace of k.
func (k *Kernel) Generation() (uint32, error) {
	return currentGeneration(k.writer)
}
