package config

import "regexp"

// groupName matches a name that groupadd(8) accepts, or a number.
var groupName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?$`)

// access reads who may make changes. The daemon checks the contents of the files: the same configuration is on machines that do not have
// them.
func access(d *decoder) Access {
	a := Access{
		ControlGroup:  d.str("control_group", defaultControlGroup),
		TrustLoopback: d.boolean("trust_loopback", defaultTrustLoopback),
		TokenFile:     file(d, "token_file"),
	}
	if a.ControlGroup != "" && !groupName.MatchString(a.ControlGroup) {
		d.invalid("control_group", "is not a valid group name", "use a group from `getent group`, such as \"ops\"")
	}
	if t, ok := d.table("tls"); ok {
		a.TLS = certificate(t, "this daemon", file(t, "client_ca_file"))
		t.done()
	}
	return a
}

// certificate reads cert_file and key_file: both or neither. owner completes "the certificate of".
func certificate(t *decoder, owner, clientCAFile string) TLS {
	files := TLS{CertFile: file(t, "cert_file"), KeyFile: file(t, "key_file"), ClientCAFile: clientCAFile}
	switch {
	case files == TLS{}: // no TLS
	case files.CertFile == "":
		required(t, "cert_file", "give the path of the certificate of "+owner+", in PEM")
	case files.KeyFile == "":
		required(t, "key_file", "give the path of the certificate's private key, in PEM")
	}
	return files
}
