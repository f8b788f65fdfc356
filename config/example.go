package config

import _ "embed"

// Example is the annotated example file: every key with its default, and the talk's own cluster.
//
//go:embed lb.toml
var Example string
