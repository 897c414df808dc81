package activation

import "fmt"

// rebind replaces the runs of instances that are bound to r's service, because a run of r has
// ended. They start again when they have what they need.
func (t *turn) rebind(r *Record) error {
	for _, id := range t.dependents(ServiceFrom(r.Serving.Service)) {
		o, err := t.Record(id)
		if err != nil || o.Serving == nil || !o.Serving.Bind || o.openAttempt() == nil || o.leaving() {
			continue
		}
		old := o.clone()
		why := fmt.Sprintf("it needs %s, whose run has ended", r.ID)
		o.Serving.Stop = &ServiceStop{Why: why}
		if err := t.Apply(o, Restart, why); err != nil {
			return err
		}
		t.Later(id)
		if err := t.Save(old, o); err != nil {
			return err
		}
	}
	return nil
}

// grantInstance starts an instance's next run, or makes it wait for the services that it
// needs.
func (t *turn) grantInstance(r *Record) (claimed, changed bool, err error) {
	lacks, on := t.needs(r), waitsOnEnd
	if lacks == "" && t.draining {
		lacks, on = nextStart, waitsOnStart
	}
	if lacks == "" {
		return true, true, t.claim(r, Serve)
	}
	if r.WaitsOn == on && r.Reason == waitsFor+lacks {
		return false, false, nil
	}
	t.wait(r, on, lacks)
	return false, true, nil
}

// needs names the first service that r waits for; empty: there is none.
func (t *Txn) needs(r *Record) string {
	for _, need := range r.Serving.Needs {
		met, why := false, "is not declared"
		for _, id := range t.Members(ServiceFrom(need.Service), maxInstances) {
			i, err := t.Record(id)
			switch {
			case err != nil:
				continue
			case i.State == Held:
				if !met {
					why = "is down"
				}
				continue
			}
			if met = i.Ready() || need.Started && i.hasProcess(); !met {
				why = "is " + i.InstanceState()
				break
			}
		}
		if !met {
			return fmt.Sprintf("the service %s, which %s", need.Service, why)
		}
	}
	return ""
}

// maxInstances bounds how many instances a service has.
const maxInstances = 1000

// hasProcess reports whether r is an instance with a process that is not about to be ended. A
// record of an earlier version says so by its state.
func (r *Record) hasProcess() bool {
	a := r.openAttempt()
	return r.Serving != nil && a != nil && (a.Begun || r.State == Active) && !r.leaving()
}
