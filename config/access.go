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
		a.TLS = TLS{CertFile: file(t, "cert_file"), KeyFile: file(t, "key_file"), ClientCAFile: file(t, "client_ca_file")}
		switch {
		case a.TLS == TLS{}: // no TLS
		case a.TLS.CertFile == "":
			required(t, "cert_file", "name the file with the certificate of this daemon, in PEM")
		case a.TLS.KeyFile == "":
			required(t, "key_file", "name the file with the private key of the certificate, in PEM")
		}
		t.done()
	}
	return a
}

// file reads the path of a file that need not be; "" is none.
func file(d *decoder, key string) string {
	if d.str(key, defaultFile) == "" {
		return ""
	}
	return absolute(d, key, defaultFile)
}
