package balancer

import (
	"github.com/braintree/lb/netx/ipvs"
)

// checkSettings makes the kernel's settings those that lb's promises rest on, where the config asks for it, and otherwise
// says which are not. None of them is worth not starting for.
func (b *Balancer) checkSettings() {
	if b.options.Settings == "" {
		return
	}
	for _, s := range ipvs.RecommendedSysctls(b.use) {
		value, err := b.options.Settings.Get(s.Name)
		switch {
		case err != nil:
			b.log.Warn("a setting of the kernel cannot be checked", "setting", "net.ipv4.vs."+s.Name, "err", err)
		case value == s.Value:
		case !b.cfg.SetSysctls:
			b.log.Warn("a setting of the kernel is not safe: "+s.Why+": set it with `sysctl -w net.ipv4.vs."+s.Name+"="+s.Value+
				"`, or have lb do it with balancer.set_sysctls = true", "setting", "net.ipv4.vs."+s.Name, "value", value)
		default:
			if err := b.options.Settings.Set(s.Name, s.Value); err != nil {
				b.log.Error("a setting of the kernel is not safe and cannot be changed: "+s.Why, "setting", "net.ipv4.vs."+s.Name, "err", err)
				continue
			}
			b.log.Info("a setting of the kernel was changed", "setting", "net.ipv4.vs."+s.Name, "value", s.Value, "was", value)
		}
	}
}
