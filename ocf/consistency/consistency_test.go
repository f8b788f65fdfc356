package consistency

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/ocf/crm"
)

const recordings = "../crm/testdata"

// pacemaker returns a recorded output of Pacemaker's tools.
func pacemaker(t testing.TB, statusName, configurationName string) Pacemaker {
	t.Helper()
	read := func(file string) []byte {
		text, err := os.ReadFile(filepath.Join(recordings, file))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	status, err := crm.ParseStatus(read(statusName + ".status.xml"))
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := crm.ParseConfiguration(read(configurationName + ".cib.xml"))
	if err != nil {
		t.Fatal(err)
	}
	return Pacemaker{Status: status, Configuration: configuration}
}

func state(name string, mark uint32, running bool) api.ClusterStatus {
	return api.ClusterStatus{Name: name, Mark: mark, Running: running}
}

// service returns a service with destinations of these weights.
func service(m ipvs.Mark, weights ...ipvs.Weight) ipvs.Service {
	s := ipvs.Service{Key: ipvs.Key{Mark: m, Family: ipvs.IPv4}}
	for _, w := range weights {
		s.Destinations = append(s.Destinations, ipvs.Destination{Weight: w})
	}
	return s
}

// consistent returns the views of load01 without a problem: both clusters run on all machines, the address of webapp is here, that of
// mail on load02.
func consistent(t testing.TB) Views {
	t.Helper()
	cfg, err := config.Load(filepath.Join(recordings, "lb.toml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Views{
		Machine:   "load01",
		Config:    Config{Path: "lb.toml", Clusters: cfg.Clusters, Marks: map[string]uint32{"mail": 8, "webapp": 7}},
		Pacemaker: pacemaker(t, "running", "running"),
		Daemon:    Daemon{Status: api.Status{Clusters: []api.ClusterStatus{state("mail", 8, true), state("webapp", 7, true)}}},
		Kernel: Kernel{
			Services: []ipvs.Service{service(7, 100, 0), service(8, 100)},
			Rules: []mark.Rule{
				{Address: netip.MustParseAddr("204.109.13.7"), Interface: "eth10", Protocol: "tcp", Port: 443, Mark: 7},
				{Address: netip.MustParseAddr("204.109.13.8"), Protocol: "tcp", Port: 25, Mark: 8},
			},
			Addresses: []Address{{"lo", netip.MustParseAddr("127.0.0.1")}, {"eth10", netip.MustParseAddr("204.109.13.7")}},
		},
	}
}

// setPacemaker replaces Pacemaker's view by a recorded one.
func setPacemaker(t testing.TB, v *Views, recorded string) {
	t.Helper()
	configuration := recorded
	if _, err := os.Stat(filepath.Join(recordings, recorded+".cib.xml")); err != nil {
		configuration = "running"
	}
	v.Pacemaker = pacemaker(t, recorded, configuration)
}

// stopAll stops everything on this machine.
func stopAll(v *Views) {
	for i := range v.Daemon.Status.Clusters {
		v.Daemon.Status.Clusters[i].Running = false
	}
	v.Kernel.Services, v.Kernel.Addresses = nil, nil
}

// stopWebapp stops webapp on this machine and removes its address.
func stopWebapp(v *Views) {
	v.Daemon.Status.Clusters[1].Running = false
	v.Kernel.Services, v.Kernel.Addresses = v.Kernel.Services[1:], nil
}

// moveAddress moves the address of webapp to another machine.
func moveAddress(v *Views) { v.Kernel.Addresses = nil }

func edit(v *Views, id string, do func(*crm.Resource)) {
	for i := range v.Pacemaker.Status.Resources {
		if v.Pacemaker.Status.Resources[i].ID == id {
			do(&v.Pacemaker.Status.Resources[i])
		}
	}
}

// row changes the consistent views and lists the expected findings as "[CLUSTER ]CODE", with a ! after a problem.
type row struct {
	change func(t *testing.T, v *Views)
	want   string
}

// recordedRows are rows with a recorded view of Pacemaker, and this machine's state at that time.
func recordedRows() map[string]row {
	unchanged := func(*Views) {}
	rows := map[string]row{}
	for recorded, r := range map[string]struct {
		here func(*Views)
		want string
	}{
		"running":     {unchanged, ""},
		"failed":      {stopWebapp, "webapp failure-kept, webapp spare-missing"},
		"blocked":     {moveAddress, "no-fencing, webapp blocked!, webapp failure-kept"},
		"no-address":  {moveAddress, "webapp failed!, webapp failure-kept"},
		"disabled":    {moveAddress, "webapp disabled"},
		"unmanaged":   {unchanged, "webapp unmanaged"},
		"maintenance": {unchanged, "maintenance-mode"},
		"standby":     {stopAll, "machine-standby"},
		"dead":        {stopAll, "machine-offline"},
		"unclean":     {unchanged, "machine-unclean!"},
		"no-quorum":   {stopAll, "mail nowhere!, no-quorum!, webapp nowhere!"},
		"no-device":   {stopAll, "mail nowhere!, no-fence-device!, webapp nowhere!"},
		"no-fencing":  {unchanged, "no-fencing"},
		"moved":       {moveAddress, "webapp ordered"},
		"banned":      {moveAddress, "webapp ordered"},
		"twice":       {unchanged, "webapp twice!"},
		"apart":       {moveAddress, "webapp address-apart!, webapp spare-missing"},
		"orphaned":    {unchanged, "webapp orphaned!"},
		"bare":        {moveAddress, "mail daemon-runs!, mail not-in-pacemaker!, webapp daemon-runs!, webapp not-in-pacemaker!"},
	} {
		rows["recorded: "+recorded] = row{func(t *testing.T, v *Views) {
			setPacemaker(t, v, recorded)
			r.here(v)
		}, r.want}
	}
	return rows
}

// editedRows are rows that no recording has.
func editedRows() map[string]row {
	return map[string]row{
		"lb balance and the kernel do not run it": {func(_ *testing.T, v *Views) { stopWebapp(v) },
			"webapp address-missing!, webapp daemon-does-not-run!"},
		"lb balance does not run it, the kernel does": {func(_ *testing.T, v *Views) { v.Daemon.Status.Clusters[1].Running = false },
			"webapp daemon-does-not-run!"},
		"the kernel has no service": {func(_ *testing.T, v *Views) { v.Kernel.Services = v.Kernel.Services[1:] },
			"webapp kernel-empty!"},
		"the kernel has no weights": {func(_ *testing.T, v *Views) { v.Kernel.Services[0] = service(7, 0, 0) },
			"webapp no-weights!"},
		"the kernel has no nodes": {func(_ *testing.T, v *Views) { v.Kernel.Services[0] = service(7) },
			"webapp no-weights!"},
		"the kernel has an unrelated service": {func(_ *testing.T, v *Views) {
			v.Kernel.Services = append(v.Kernel.Services, service(99, 0))
		}, ""},
		"the kernel rejected a change": {func(_ *testing.T, v *Views) {
			v.Daemon.Status.Clusters[1].LastError = "no memory"
		}, "webapp kernel-refuses!"},
		"packets get no mark": {func(_ *testing.T, v *Views) { v.Kernel.Rules = v.Kernel.Rules[1:] },
			"webapp unmarked!"},
		"packets get another mark": {func(_ *testing.T, v *Views) { v.Kernel.Rules[0].Mark = 9 }, "webapp unmarked!"},
		"lb balance is dead, the kernel forwards": {func(_ *testing.T, v *Views) { v.Daemon = Daemon{Error: "start it"} },
			"daemon-silent!, mail unfollowed!, webapp unfollowed!"},
		"lb balance is dead, the kernel has no weights": {func(_ *testing.T, v *Views) {
			v.Daemon, v.Kernel.Services[0] = Daemon{Error: "start it"}, service(7, 0)
		}, "daemon-silent!, mail unfollowed!, webapp no-weights!, webapp unfollowed!"},
		"lb balance is dead, the kernel has nothing": {func(_ *testing.T, v *Views) {
			v.Daemon, v.Kernel.Services = Daemon{Error: "start it"}, nil
		}, "daemon-silent!, mail not-running!, webapp not-running!"},
		"lb balance is dead, its clusters elsewhere": {func(t *testing.T, v *Views) {
			setPacemaker(t, v, "standby")
			stopAll(v)
			v.Daemon = Daemon{Error: "start it"}
		}, "daemon-silent!, machine-standby"},
		"lb balance runs what Pacemaker runs elsewhere": {func(t *testing.T, v *Views) { setPacemaker(t, v, "failed"); moveAddress(v) },
			"webapp daemon-runs!, webapp failure-kept, webapp spare-missing"},
		"the kernel forwards what Pacemaker runs elsewhere": {func(t *testing.T, v *Views) {
			setPacemaker(t, v, "failed")
			moveAddress(v)
			v.Daemon.Status.Clusters[1].Running = false
		}, "webapp failure-kept, webapp left-over!, webapp spare-missing"},
		"lb balance has no such cluster": {func(_ *testing.T, v *Views) { v.Daemon.Status.Clusters = v.Daemon.Status.Clusters[:1] },
			"webapp daemon-does-not-run!, webapp not-in-daemon!"},
		"only Pacemaker has it": {func(_ *testing.T, v *Views) {
			v.Daemon.Status.Clusters, v.Config.Clusters = v.Daemon.Status.Clusters[1:], v.Config.Clusters[1:]
			delete(v.Config.Marks, "mail")
		}, "mail daemon-does-not-run!, mail not-in-config!"},
		"only lb balance has it": {func(t *testing.T, v *Views) {
			v.Daemon.Status.Clusters = append(v.Daemon.Status.Clusters, state("old", 9, false))
		}, "old not-in-config!"},
		"only lb.toml has it": {func(t *testing.T, v *Views) {
			v.Config.Clusters, v.Config.Marks["new"] = append(v.Config.Clusters, config.Cluster{Name: "new", Mark: 9}), 9
		}, "new not-in-daemon!, new not-in-pacemaker!"},
		"lb balance runs it by itself": {func(t *testing.T, v *Views) {
			v.Config.Clusters, v.Config.Marks["new"] = append(v.Config.Clusters, config.Cluster{Name: "new", Mark: 9, Autostart: true}), 9
			v.Daemon.Status.Clusters = append(v.Daemon.Status.Clusters, state("new", 9, true))
			v.Kernel.Services = append(v.Kernel.Services, service(9, 1))
		}, "new not-in-pacemaker"},
		"lb.toml is invalid": {func(_ *testing.T, v *Views) { v.Config.Invalid, v.Config.Clusters = "it has 2 errors", nil },
			"config-broken!"},
		"lb.toml is gone": {func(_ *testing.T, v *Views) { v.Config = Config{Path: "lb.toml", Invalid: "no such file"} },
			"config-broken!"},
	}
}

// addressAndPacemakerRows are further rows that no recording has.
func addressAndPacemakerRows() map[string]row {
	return map[string]row{
		"the address is not on the interface": {func(_ *testing.T, v *Views) { v.Kernel.Addresses = nil }, "webapp address-missing!"},
		"the address is on a tunnel alone": {func(_ *testing.T, v *Views) { v.Kernel.Addresses[1].Interface = "tunl0" },
			"webapp address-missing!"},
		"the address is on another interface": {func(_ *testing.T, v *Views) { v.Kernel.Addresses[1].Interface = "eth0" },
			"webapp address-misplaced!"},
		"another machine's address is here": {func(_ *testing.T, v *Views) {
			v.Kernel.Addresses = append(v.Kernel.Addresses, Address{"eth1", netip.MustParseAddr("204.109.13.8")})
		}, "mail address-astray!"},
		"the address is nowhere": {func(_ *testing.T, v *Views) {
			edit(v, "vip-204.109.13.8", func(r *crm.Resource) { r.On = nil })
		}, "mail nowhere!"},
		"the address is not in Pacemaker": {func(_ *testing.T, v *Views) { delete(v.Pacemaker.Configuration.Params, "vip-204.109.13.8") },
			"mail address-not-in-pacemaker!"},

		"Pacemaker is just starting it": {func(_ *testing.T, v *Views) {
			stopWebapp(v)
			edit(v, "cluster-webapp", func(r *crm.Resource) { r.On, r.Role, r.Pending = nil, "Stopped", "Starting" })
			edit(v, "vip-204.109.13.7", func(r *crm.Resource) { r.On, r.Role = nil, "Stopped" })
		}, "webapp changing"},
		"Pacemaker is just moving the address": {func(_ *testing.T, v *Views) {
			edit(v, "vip-204.109.13.7", func(r *crm.Resource) { r.On, r.Pending = nil, "Starting" })
		}, "webapp changing"},
		"Pacemaker does not run": {func(_ *testing.T, v *Views) {
			v.Pacemaker = Pacemaker{Error: &Finding{Level: Problem, Code: "pacemaker-not-running"}}
		}, "pacemaker-not-running!"},
		"Pacemaker does not run, the kernel has a service": {func(_ *testing.T, v *Views) {
			v.Pacemaker = Pacemaker{Error: &Finding{Level: Problem, Code: "pacemaker-not-running"}}
			v.Daemon.Status.Clusters[1].Running = false
		}, "pacemaker-not-running!, webapp left-over!"},
		"no coordinator is elected": {func(_ *testing.T, v *Views) { v.Pacemaker.Status.Coordinator = "" }, "no-coordinator!"},
		"everything is stopped":     {func(_ *testing.T, v *Views) { v.Pacemaker.Status.StopAll = true }, "stop-all"},
		"a machine is in maintenance": {func(_ *testing.T, v *Views) { v.Pacemaker.Status.Machines[2].Maintenance = true },
			"machine-maintenance"},
		"a machine joins": {func(_ *testing.T, v *Views) { v.Pacemaker.Status.Machines[2].Pending = true },
			"machine-joining"},
		"Pacemaker has no such machine": {func(_ *testing.T, v *Views) { v.Machine = "app01"; stopAll(v) }, "stranger!"},
	}
}

// codes writes the findings of a report in the form of a row.
func codes(r Report) string {
	var all []string
	add := func(prefix string, findings []Finding) {
		for _, f := range findings {
			suffix := map[Level]string{Problem: "!", Note: ""}[f.Level]
			all = append(all, prefix+f.Code+suffix)
		}
	}
	add("", r.Findings)
	for _, c := range r.Clusters {
		add(c.Name+" ", c.Findings)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func allRows() map[string]row {
	rows := recordedRows()
	maps.Copy(rows, editedRows())
	maps.Copy(rows, addressAndPacemakerRows())
	return rows
}

func TestCompare(t *testing.T) {
	for name, tt := range allRows() {
		t.Run(name, func(t *testing.T) {
			v := consistent(t)
			tt.change(t, &v)
			r := Compare(v, nil)
			if diff := cmp.Diff(tt.want, codes(r)); diff != "" {
				t.Errorf("(-want +got):\n%s%+v", diff, r)
			}
			if want := !strings.Contains(tt.want, "!"); r.Agree != want {
				t.Errorf("agree is %v, want %v", r.Agree, want)
			}
		})
	}
}

// code matches the code of a finding in the source.
var code = regexp.MustCompile(`(?:problem|note)\(\s*"([a-z-]+)"`)

func TestEveryFindingHasARow(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var wanted string
	for _, r := range allRows() {
		wanted += ", " + strings.ReplaceAll(r.want, "!", "") + ","
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllStringSubmatch(string(text), -1) {
			if n++; !strings.Contains(wanted, " "+m[1]+",") {
				t.Errorf("%s: no row expects %s", file, m[1])
			}
		}
	}
	if n < 30 {
		t.Errorf("found only %d findings in the source", n)
	}
}

// TestFindingsHaveATextAndAFix checks each finding of each row.
func TestFindingsHaveATextAndAFix(t *testing.T) {
	for name, tt := range allRows() {
		v := consistent(t)
		tt.change(t, &v)
		r := Compare(v, nil)
		findings := slices.Clone(r.Findings)
		for _, c := range r.Clusters {
			findings = append(findings, c.Findings...)
		}
		for _, f := range findings {
			if f.Code == "pacemaker-not-running" {
				continue // made by the row itself
			}
			if text := f.Text + " " + f.Fix; f.Text == "" || f.Fix == "" || strings.Contains(text, "%!") ||
				strings.Contains(text, "  ") || strings.Contains(text, "``") {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

func TestCompareOfNamedClusters(t *testing.T) {
	v := consistent(t)
	v.Daemon.Status.Clusters[0].Running = false
	if r := Compare(v, []string{"webapp"}); !r.Agree || len(r.Clusters) != 1 || r.Clusters[0].Name != "webapp" {
		t.Errorf("%+v", r)
	}
	if r := Compare(v, []string{"mail"}); r.Agree || len(r.Clusters) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCompareFindsAResourceWithAnotherId(t *testing.T) {
	v := consistent(t)
	edit(&v, "cluster-webapp", func(r *crm.Resource) { r.ID = "bb_web" })
	v.Pacemaker.Configuration.Params["bb_web"] = map[string]string{"cluster": "webapp"}
	if r := Compare(v, nil); !r.Agree || len(r.Clusters) != 2 || r.Clusters[1].Pacemaker.Resource != "bb_web" {
		t.Errorf("%+v", r)
	}
}
