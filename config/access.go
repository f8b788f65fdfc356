package config

import "regexp"

// groupName is a name that groupadd(8) takes, or a number.
var groupName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?$`)

// access reads who may change something. What the files hold is for the daemon to judge: the same configuration stands on
// machines that do not have them.
func access(d *decoder) Access {
	a := Access{
		ControlGroup:  d.str("control_group", defaultControlGroup),
		TrustLoopback: d.boolean("trust_loopback", defaultTrustLoopback),
		TokenFile:     file(d, "token_file"),
	}
	if a.ControlGroup != "" && !groupName.MatchString(a.ControlGroup) {
		d.mistake("control_group", "can be no group", "name one that `getent group` shows, such as \"ops\"")
	}
	if t, ok := d.table("tls"); ok {
		a.TLS = certificate(t, "this daemon", file(t, "client_ca_file"))
		t.done()
	}
	return a
}

// certificate reads the files of a certificate, which are both there or neither.
func certificate(t *decoder, whose, clientCAFile string) TLS {
	files := TLS{CertFile: file(t, "cert_file"), KeyFile: file(t, "key_file"), ClientCAFile: clientCAFile}
	switch {
	case files == TLS{}: // no TLS
	case files.CertFile == "":
		required(t, "cert_file", "name the file with the certificate of "+whose+", in PEM")
	case files.KeyFile == "":
		required(t, "key_file", "name the file with the private key of the certificate, in PEM")
	}
	return files
}

// file reads the path of a file that need not be; "" is none.
func file(d *decoder, key string) string {
	if d.str(key, defaultFile) == "" {
		return ""
	}
	return absolute(d, key, defaultFile)
}
