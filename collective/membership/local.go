package membership

import (
	"context"
	"sync"
)

// forming are the groups of this process that are not complete.
var forming = struct {
	sync.Mutex
	groups map[string]*formation
}{groups: make(map[string]*formation)}

type formation struct {
	*roster
	waiting int
	done    chan struct{}
	group   *Group
}

// Local forms a group of goroutines of this process: it returns when size ranks have called it with the same name.
// All get the same *Group.
func Local(ctx context.Context, name string, size int, self Member) (*Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if size < 1 {
		return nil, &RefusedError{Group: name, Rank: self.Rank, Reason: "a group has at least one rank"}
	}
	forming.Lock()
	f := forming.groups[name]
	if f == nil {
		f = &formation{roster: newRoster(name, size), done: make(chan struct{})}
		forming.groups[name] = f
	}
	if err := f.add(self, size); err != nil {
		if f.waiting == 0 {
			delete(forming.groups, name)
		}
		forming.Unlock()
		return nil, err
	}
	f.waiting++
	if f.complete() {
		f.group = f.roster.group()
		delete(forming.groups, name)
		close(f.done)
	}
	forming.Unlock()

	select {
	case <-f.done:
		return f.group, nil
	case <-ctx.Done():
	}
	forming.Lock()
	defer forming.Unlock()
	if f.group != nil {
		return f.group, nil
	}
	missing := f.missing()
	f.remove(self.Rank)
	if f.waiting--; f.waiting == 0 {
		delete(forming.groups, name)
	}
	return nil, &IncompleteError{Group: name, Missing: missing, Cause: context.Cause(ctx)}
}
