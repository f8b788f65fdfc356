package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/braintree/lb/netx/ipvs"
)

func lookAtIPVSSettings(_ context.Context, m *Machine) ([]Finding, error) {
	return examineIPVS(ipvs.SysctlDir(filepath.Join(m.proc, "sys/net/ipv4/vs")), ipvs.Features(m.config.KernelFeatures())), nil
}

// examineIPVS compares the kernel's settings with those that the configuration needs.
func examineIPVS(settings ipvs.SysctlDir, use ipvs.Features) []Finding {
	var found []Finding
	for _, s := range ipvs.RecommendedSysctls(use) {
		name := "net.ipv4.vs." + s.Name
		value, err := settings.Get(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return []Finding{bad("the kernel module ip_vs is not loaded",
				"the kernel balances nothing, and its IPVS settings do not exist yet",
				"`modprobe ip_vs`, as lb-balance.service does")}
		case err != nil:
			found = append(found, unknown(name, err.Error(), fixUnknown(err)))
		case value == s.Value:
			found = append(found, good("%s is %s", name, value))
		default:
			found = append(found, bad(fmt.Sprintf("%s is %s, not %s", name, value, s.Value), s.Why,
				fmt.Sprintf("`sysctl -w %s=%s`, or balancer.set_sysctls = true", name, s.Value)))
		}
	}
	return found
}
