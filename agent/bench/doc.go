// Package bench measures what an agent costs, beside nginx with a file of the same size. scripts/bench agent runs it, and
// docs/performance.md says what came out; all of it is tests with the build tag bench.
package bench
