package cluster

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/machine"
)

// immutable lists the types whose memory a clone may share: nobody changes them in place.
var immutable = []reflect.Type{
	reflect.TypeFor[config.Cluster](), reflect.TypeFor[config.Node](), reflect.TypeFor[config.Site](), reflect.TypeFor[config.Sync](),
	reflect.TypeFor[[]decide.Step](), reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](),
	reflect.TypeFor[*decide.Reading](), reflect.TypeFor[*event.Tally](), reflect.TypeFor[*machine.State](),
}

// TestCloneCopiesEverything fills every field of a model, whatever fields there are, and compares the clone with it: a field that Clone
// forgets is
// missing there, and one that it copies as a reference shares its memory.
func TestCloneCopiesEverything(t *testing.T) {
	m := &Model{}
	fill(t, reflect.ValueOf(m).Elem(), "Model", 0)
	site := m.clusters[0].sites[0]
	for _, c := range m.clusters {
		c.members = nil // scratch space
		c.sites = c.sites[:1]
		for _, n := range c.nodes {
			n.remote.site = c.sites[0] // a node points at a site of its cluster
		}
	}
	k := m.Clone()
	everything := cmp.Exporter(func(reflect.Type) bool { return true })
	if diff := cmp.Diff(m, k, everything); diff != "" {
		t.Errorf("the clone differs (-model +clone):\n%s", diff)
	}
	shares(t, reflect.ValueOf(m), reflect.ValueOf(k), "Model", map[uintptr]bool{})
	if k.clusters[0].nodes[0].remote.site != k.clusters[0].sites[0] || k.clusters[0].nodes[0].remote.site == site {
		t.Error("a node of the clone points at a site that is not the clone's own")
	}
}

// fill gives a value and everything below it something other than its zero value.
func fill(t *testing.T, v reflect.Value, path string, depth int) {
	t.Helper()
	if depth > 12 {
		return // a type that contains itself
	}
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	case reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("192.0.2.1:80")))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path, depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name, depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), path, depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), path, depth+1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, path, depth+1)
		fill(t, value, path, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		t.Fatalf("%s is a %s: teach this test how to fill one", path, v.Kind())
	}
}

// shares reports memory that a model and its clone share, except of immutable types.
func shares(t *testing.T, a, b reflect.Value, path string, seen map[uintptr]bool) {
	t.Helper()
	for _, shared := range immutable {
		if a.Type() == shared {
			return
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		if seen[a.Pointer()] {
			return
		}
		seen[a.Pointer()] = true
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
			return
		}
		shares(t, a.Elem(), b.Elem(), path, seen)
	case reflect.Struct:
		for i := range a.NumField() {
			shares(t, a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name, seen)
		}
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		for i := range min(a.Len(), b.Len()) {
			shares(t, a.Index(i), b.Index(i), path, seen)
		}
	case reflect.Map:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
	}
}
