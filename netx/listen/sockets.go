package listen

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are those that the service manager opened before it started this process, see sd_listen_fds(3), by the key of the
// configuration that each stands for: the FileDescriptorName= of its socket unit, such as "agent.listen". A nil Sockets is none.
type Sockets struct {
	byKey map[string]net.Listener
}

// Inherit takes the sockets over; nil when there are none. It is to be called once.
func InheritSockets() (*Sockets, error) { return inherit(activation.Files(true)) }

func inherit(files []*os.File) (*Sockets, error) {
	if len(files) == 0 {
		return nil, nil
	}
	s := &Sockets{byKey: map[string]net.Listener{}}
	var errs []error
	for _, f := range files {
		l, err := net.FileListener(f)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("take over the socket %s from the service manager: %w: let its unit have ListenStream= and Accept=no", f.Name(), err))
		case s.byKey[f.Name()] != nil:
			errs = append(errs, fmt.Errorf("two sockets from the service manager have the name %s: give each its own FileDescriptorName=, such as agent.listen", f.Name()), l.Close())
		default:
			s.byKey[f.Name()] = l
		}
		f.Close() // the listener has a descriptor of its own
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// inherited gives the socket for a key, once; nil when there is none. Its kind matters: who reaches a Unix socket may change things.
func inherited[L net.Listener](s *Sockets, key, kind string) (net.Listener, error) {
	if s == nil || s.byKey[key] == nil {
		return nil, nil
	}
	l := s.byKey[key]
	if _, ok := l.(L); !ok {
		return nil, fmt.Errorf("the socket %s from the service manager is %s: let the ListenStream= of its unit be a %s socket", key, l.Addr().Network(), kind)
	}
	delete(s.byKey, key)
	return l, nil
}

// Left lists the keys whose sockets nobody took, sorted.
func (s *Sockets) Unclaimed() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.byKey))
}

// Close closes the sockets that nobody took.
func (s *Sockets) Close() error {
	var errs []error
	for _, key := range s.Unclaimed() {
		errs = append(errs, s.byKey[key].Close())
		delete(s.byKey, key)
	}
	return errors.Join(errs...)
}
