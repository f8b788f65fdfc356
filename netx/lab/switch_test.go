package lab

import "testing"

func TestPortsAreNamedAfterHostAndInterface(t *testing.T) {
	tests := []struct{ name, host, iface, want string }{
		{"short names", "app01", "eth0", "app01.eth0"},
		{"longest name that fits", "balancer01", "eth0", "balancer01.eth0"},
		{"too long for the kernel", "balancer001", "eth0", "port7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := portName(tt.host, tt.iface, 7); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
