// Package bench measures the cost of an agent and compares it with nginx serving a file of the same size; it
// has only tests with the build tag bench, which scripts/bench agent runs, and docs/performance.md has the
// results.
package bench
