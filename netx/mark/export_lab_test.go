//go:build lab

package mark

// Generation returns the number of transactions by all programs in the namespace of k.
func (k *Kernel) Generation() (uint32, error) {
	return currentGeneration(k.writer)
}
