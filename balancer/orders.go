package balancer

import (
	"log/slog"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/override"
)

// overrides is what the engine remembers of the clusters' up and down files.
type overrides struct {
	dir     string          // "" is none
	trouble string          // of reading them; "" when none
	strays  map[string]bool // files that no cluster has, said already
}

// readFiles looks at the clusters' up and down files. What cannot be seen leaves a cluster as it was.
func (e *engine) readFiles() {
	if e.overrides.dir == "" {
		return
	}
	files, err := override.Read(e.overrides.dir)
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	if trouble != e.overrides.trouble && trouble != "" {
		e.log.Error("the clusters' up and down files cannot be read: those that were there before count on", "err", err)
	}
	e.overrides.trouble = trouble
	for _, c := range e.clusters {
		file, there := files[c.cfg.Name]
		hidden := !there || c.file.Kind == decide.OverrideUp && file.Kind == decide.OverrideDown
		if hidden && err != nil {
			continue
		}
		if file != c.file {
			e.sayFile(c, file)
		}
		c.file = file
		delete(files, c.cfg.Name)
	}
	for name := range e.overrides.strays {
		if _, still := files[name]; !still {
			delete(e.overrides.strays, name)
		}
	}
	for name, f := range files {
		if !e.overrides.strays[name] {
			e.overrides.strays[name] = true
			e.log.Warn("an up or down file bears the name of no cluster and does nothing: rename or remove it",
				"file", e.overrides.dir+"/"+fileWord(f)+"/"+name)
		}
	}
}

// sayFile tells that a cluster's file has come, gone or changed.
func (e *engine) sayFile(c *cluster, f decide.Override) {
	ev := c.about(event.FileAppeared, "the cluster has "+aFile(f)+" file: it counts in the place of its nodes' health")
	if f.Kind == decide.NoOverride {
		ev = c.about(event.FileGone, "the cluster's "+fileWord(c.file)+" file is gone: its nodes' own health counts again")
	}
	ev.Cause, ev.Old, ev.New = f.Reason, fileName(c.file), fileName(f)
	e.tell(slog.LevelWarn, ev)
}

// fileName is the kind of a file in the word of an event; "" is none.
func fileName(f decide.Override) string {
	if f.Kind == decide.NoOverride {
		return ""
	}
	return fileWord(f)
}

func fileWord(f decide.Override) string {
	if f.Kind == decide.OverrideUp {
		return "up"
	}
	return "down"
}

// aFile names the kind of a file with its article.
func aFile(f decide.Override) string {
	if f.Kind == decide.OverrideUp {
		return "an up"
	}
	return "a down"
}

// notice is what is out of the ordinary about the cluster as a whole.
func (c *cluster) notice() string {
	file := ""
	if c.file.Kind != decide.NoOverride {
		file = strings.TrimSuffix("the cluster has "+aFile(c.file)+" file: "+c.file.Reason, ": ")
	}
	if !c.running {
		return file
	}
	return troubles(file, c.verdict.Notice)
}

// sayPlight tells when a running cluster has got into a state that is out of the ordinary, and when it is out of it again. at is when the kernel had what
// follows from that.
func (e *engine) sayPlight(at time.Time, c *cluster) {
	now := plight{c.running && c.verdict.AllDown, c.running && !c.group.SuspectSince.IsZero()}
	was := c.plight
	c.plight = now
	if now == was || now == (plight{}) && !c.running {
		return
	}
	ev, level := c.about(event.ClusterState, "cluster out of trouble: it has nodes with weight again"), slog.LevelInfo
	switch {
	case now != plight{}:
		ev.Text, ev.Cause, level = "cluster in trouble", c.verdict.Notice, slog.LevelError
	case was.suspect:
		ev.Text, level = "cluster out of trouble: what is silent now is believed to be down", slog.LevelWarn
	}
	ev.Time, ev.Old, ev.New, ev.Nodes = at, was.word(), now.word(), c.tally()
	e.tell(level, ev)
}

// word is the state in the word of an event.
func (p plight) word() string {
	switch {
	case p.allDown:
		return "all_down"
	case p.suspect:
		return "suspect"
	}
	return "ok"
}

// plight is what is wrong with a running cluster as a whole.
type plight struct {
	allDown bool
	suspect bool
}
