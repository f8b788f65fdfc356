package kernel

import (
	"log/slog"

	"github.com/braintree/lb/netx/ipvs"
)

// CheckSettings compares the kernel's settings with those that lb relies on. With set it changes the unsafe ones; otherwise it logs
// them with the fix. An unsafe setting never keeps lb from starting.
func CheckSettings(settings ipvs.SysctlDir, use ipvs.Features, set bool, log *slog.Logger) {
	for _, s := range ipvs.RecommendedSysctls(use) {
		name := "net.ipv4.vs." + s.Name
		value, err := settings.Get(s.Name)
		switch {
		case err != nil:
			log.Warn("cannot check a kernel setting", "setting", name, "err", err)
		case value == s.Value:
		case !set:
			log.Warn("unsafe kernel setting: "+s.Why+": set it with `sysctl -w "+name+"="+s.Value+
				"`, or let lb set it with balancer.set_sysctls = true", "setting", name, "value", value)
		default:
			if err := settings.Set(s.Name, s.Value); err != nil {
				log.Error("cannot change an unsafe kernel setting: "+s.Why, "setting", name, "err", err)
				continue
			}
			log.Info("kernel setting changed", "setting", name, "value", s.Value, "was", value)
		}
	}
}
