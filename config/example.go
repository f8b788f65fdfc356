package config

import _ "embed"

// Example is the annotated configuration: every key with its default, and the cluster of the talk.
//
//go:embed lb.toml
var Example string
