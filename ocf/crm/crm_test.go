package crm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func status(t testing.TB, name string) Status {
	t.Helper()
	s, err := ParseStatus(read(t, name+".status.xml"))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// started is a resource without problems.
func started(id, agent, group, on string) Resource {
	return Resource{ID: id, Agent: agent, Group: group, Role: "Started", On: []string{on}, Managed: true}
}

// everywhere is a cluster's resource without problems.
func everywhere(id, clone string) Resource {
	return Resource{ID: id, Agent: "ocf:braintree:bigbrother", Clone: clone, Role: "Started", On: []string{"load01", "load02", "load03"},
		Managed: true}
}

func TestParseStatus(t *testing.T) {
	got := status(t, "running")
	const address = "ocf:heartbeat:IPaddr2"
	want := Status{
		Coordinator: "load01", Quorum: true, Fencing: true, NoQuorum: "stop",
		Machines: []Machine{{Name: "load01", Online: true}, {Name: "load02", Online: true}, {Name: "load03", Online: true}},
		Resources: []Resource{
			started("fence", "stonith:fence_ipmilan", "", "load01"),
			started("vip-204.109.13.8", address, "group-mail", "load02"), started("vip-204.109.13.7", address, "group-webapp", "load01"),
			everywhere("cluster-mail", "clone-mail"), everywhere("cluster-webapp", "clone-webapp"),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("running (-want +got):\n%s", diff)
	}
}

func TestParseStatusFindsProblems(t *testing.T) {
	webapp := func(s Status) Resource { r, _ := s.Resource("cluster-webapp"); return r }
	address := func(s Status) Resource { r, _ := s.Resource("vip-204.109.13.7"); return r }
	tests := map[string]func(Status) bool{
		"blocked": func(s Status) bool {
			r := webapp(s)
			return r.Blocked && r.Failed && r.FailedOn[0] == "load01" && !s.Fencing
		},
		"no-address": func(s Status) bool { return address(s).Failed && !webapp(s).Failed },
		"disabled": func(s Status) bool {
			r := address(s)
			return r.TargetRole == "Stopped" && r.Role == "Stopped" && r.On == nil
		},
		"unmanaged":   func(s Status) bool { r := address(s); return !r.Managed && !r.Blocked && len(r.On) == 1 },
		"maintenance": func(s Status) bool { return s.Maintenance },
		"standby":     func(s Status) bool { return s.Machines[0].Standby && s.Machines[0].Online && !s.Machines[1].Standby },
		"dead":        func(s Status) bool { return !s.Machines[0].Online && !s.Machines[0].Unclean },
		"unclean":     func(s Status) bool { return s.Machines[0].Unclean && webapp(s).On[0] == "load01" },
		"no-quorum":   func(s Status) bool { return !s.Quorum && s.Coordinator == "load01" },
		"no-device":   func(s Status) bool { _, has := s.Resource("fence"); return s.Fencing && !has },
		"orphaned":    func(s Status) bool { return webapp(s).Orphaned },
		"twice":       func(s Status) bool { return strings.Join(address(s).On, " ") == "load01 load02" },
		"apart":       func(s Status) bool { return address(s).On[0] == "load03" && len(webapp(s).On) == 2 },
		"bare":        func(s Status) bool { return len(s.Resources) == 1 },
		"banned": func(s Status) bool {
			return len(s.Bans) == 1 && s.Bans[0] == Ban{ID: "cli-ban-group-webapp-on-load01", Resource: "group-webapp", Machine: "load01"}
		},
		"failed": func(s Status) bool {
			return len(s.Failures) == 1 && s.Failures[0].Resource() == "cluster-webapp" && s.Failures[0].Machine == "load01" &&
				s.Failures[0].Exit == "error" && s.Failures[0].Status == Complete
		},
	}
	for name, holds := range tests {
		t.Run(name, func(t *testing.T) {
			if s := status(t, name); !holds(s) {
				t.Errorf("%+v", s)
			}
			if holds(status(t, "running")) {
				t.Error("also holds without a problem")
			}
		})
	}
}

func TestParseStatusFindsNestedResources(t *testing.T) {
	s, err := ParseStatus([]byte(`<pacemaker-result><resources>
<clone id="c"><group id="g"><resource id="a"/></group></clone>
<bundle id="b"><replica id="0"><resource id="d"/></replica></bundle>
<clone id="e"><resource id="f" managed="true"><node name="load02"/></resource><resource id="f" pending="Starting"/>
<resource id="f" role="Started" failed="true"><node name="load01"/></resource></clone>
</resources><status code="0"/></pacemaker-result>`))
	f := Resource{ID: "f", Clone: "e", Role: "Started", Pending: "Starting", On: []string{"load01", "load02"}, Failed: true,
		FailedOn: []string{"load01"}}
	want := []Resource{{ID: "a", Group: "g", Clone: "c"}, f, {ID: "d"}}
	if diff := cmp.Diff(want, s.Resources); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestParseStatusDistinguishesToolErrorsFromOtherOutput(t *testing.T) {
	_, err := ParseStatus(read(t, "silent.status.xml"))
	var toolError *ToolError
	if !errors.As(err, &toolError) || toolError.Code != NotConnected ||
		toolError.Error() != "crm_mon: Connection to cluster failed: Connection refused" {
		t.Errorf("%v", err)
	}
	whole := read(t, "running.status.xml")
	for name, text := range map[string]string{"nothing": "", "half": string(whole[:len(whole)/2]), "something else": "<html/>",
		"no XML": "Segmentation fault"} {
		if _, err := ParseStatus([]byte(text)); err == nil || errors.As(err, &toolError) ||
			!strings.HasPrefix(err.Error(), "parse the output of crm_mon: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailureNamesItsResource(t *testing.T) {
	for key, want := range map[string]string{"cluster-webapp_monitor_5000": "cluster-webapp", "a_b_start_0": "a_b", "plain": "plain",
		"": ""} {
		if got := (Failure{Operation: key}).Resource(); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}

func TestFailureCause(t *testing.T) {
	for want, f := range map[string]Failure{
		"lb balance does not answer": {Exit: "error", Status: Complete, Reason: "lb balance does not answer"},
		"error":                      {Exit: "error", Status: Complete},
		"Timed Out":                  {Exit: "error", Status: "Timed Out"},
		"not running":                {Exit: "not running"},
	} {
		if got := f.Cause(); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}

func TestParseConfiguration(t *testing.T) {
	got, err := ParseConfiguration(read(t, "moved.cib.xml"))
	want := Configuration{
		Params: map[string]map[string]string{
			"cluster-mail":     {"cluster": "mail"},
			"vip-204.109.13.8": {"ip": "204.109.13.8", "cidr_netmask": "32"},
			"cluster-webapp":   {"cluster": "webapp"},
			"vip-204.109.13.7": {"ip": "204.109.13.7", "cidr_netmask": "32", "nic": "eth10"},
		},
		Colocated: map[string][]string{"group-mail": {"clone-mail"}, "group-webapp": {"clone-webapp"}},
		Manual:    []ManualConstraint{{ID: "cli-prefer-group-webapp", Resource: "group-webapp"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := ParseConfiguration(read(t, "bare.cib.xml")); err != nil || len(got.Params) > 0 || got.Manual != nil {
		t.Errorf("bare: %v, %v", got, err)
	}
	if _, err := ParseConfiguration([]byte("<cib/>")); err == nil || !strings.HasPrefix(err.Error(), "parse the output of cibadmin: ") {
		t.Errorf("another element: %v", err)
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, name := range []string{"running", "blocked", "apart", "banned", "silent"} {
		f.Add(read(f, name+".status.xml"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseStatus(text)
		if err != nil && (s.Coordinator != "" || s.Resources != nil) {
			t.Errorf("both an error, %v, and a status, %+v", err, s)
		}
		for _, r := range s.Resources {
			if _, ok := s.Resource(r.ID); !ok {
				t.Errorf("%q is lost", r.ID)
			}
		}
		for _, failure := range s.Failures {
			if !strings.HasPrefix(failure.Operation, failure.Resource()) {
				t.Errorf("%q is not of %q", failure.Operation, failure.Resource())
			}
		}
	})
}

func FuzzParseConfiguration(f *testing.F) {
	f.Add(read(f, "moved.cib.xml"))
	f.Add(read(f, "bare.cib.xml"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfiguration(text)
		if (err == nil) != (c.Params != nil) {
			t.Errorf("%v, %+v", err, c)
		}
		for _, m := range c.Manual {
			if !strings.HasPrefix(m.ID, manualPrefix) {
				t.Errorf("%+v is not a manual constraint", m)
			}
		}
	})
}
