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

// Sockets are those that the service manager opened before it started this process, see sd_listen_fds(3). Each is known
// by the configuration key that it stands for, the FileDescriptorName= of its socket unit, such as "agent.listen". A
// nil Sockets is empty.
type Sockets struct {
	byKey map[string]net.Listener
}

// InheritSockets takes over the sockets; nil if there are none. Call it once.
func InheritSockets() (*Sockets, error) { return socketsFromFiles(activation.Files(true)) }

func socketsFromFiles(files []*os.File) (*Sockets, error) {
	if len(files) == 0 {
		return nil, nil
	}
	s := &Sockets{byKey: map[string]net.Listener{}}
	var errs []error
	for _, f := range files {
		l, err := net.FileListener(f)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("use the socket %s from the service manager: %w: its unit needs ListenStream= and Accept=no",
				f.Name(), err))
		case s.byKey[f.Name()] != nil:
			errs = append(errs, fmt.Errorf("two sockets from the service manager are named %s: "+
				"give each its own FileDescriptorName=, such as agent.listen", f.Name()), l.Close())
		default:
			s.byKey[f.Name()] = l
		}
		f.Close() // the listener has its own descriptor
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// claim returns the socket for a key, once; nil if there is none. Its type matters: access to a Unix socket permits
// changes.
func claim[L net.Listener](s *Sockets, key, kind string) (net.Listener, error) {
	if s == nil || s.byKey[key] == nil {
		return nil, nil
	}
	l := s.byKey[key]
	if _, ok := l.(L); !ok {
		return nil, fmt.Errorf("the socket %s from the service manager is of type %s: the ListenStream= of its unit must be a %s socket",
			key, l.Addr().Network(), kind)
	}
	delete(s.byKey, key)
	return l, nil
}

// Unclaimed returns the sorted keys of the sockets that were not claimed.
func (s *Sockets) Unclaimed() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.byKey))
}

// Close closes the sockets that were not claimed.
func (s *Sockets) Close() error {
	var errs []error
	for _, key := range s.Unclaimed() {
		errs = append(errs, s.byKey[key].Close())
		delete(s.byKey, key)
	}
	return errors.Join(errs...)
}
