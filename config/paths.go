package config

import (
	"path/filepath"
	"strconv"
	"strings"
)

// maxSocketPath is the maximum length of a Unix socket's path: sun_path of unix(7) without the final zero byte.
const maxSocketPath = 107

// control reads the path of a Unix socket.
func control(d *decoder, def string) string {
	v := absolute(d, "control", def)
	if len(v) > maxSocketPath {
		d.invalid("control", "is longer than "+strconv.Itoa(maxSocketPath)+" bytes, Linux's limit for a socket's path",
			"use a shorter path")
	}
	return v
}

// absolute reads an absolute path, which does not depend on lb's working directory.
func absolute(d *decoder, key, def string) string {
	v := d.str(key, def)
	if !filepath.IsAbs(v) || strings.ContainsRune(v, 0) {
		d.invalid(key, "is not an absolute path", "begin it with /")
	}
	return v
}

// file reads the absolute path of an optional file; "": none.
func file(d *decoder, key string) string {
	if d.str(key, defaultFile) == "" {
		return ""
	}
	return absolute(d, key, defaultFile)
}
