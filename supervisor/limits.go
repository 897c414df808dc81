package supervisor

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"activationd/supervisor/wrapper"
)

// Lower returns limits, lowered where most has a lower limit of the same name.
// Limits that only most has are added. The hard limits in most must be finite.
func Lower(limits, most []wrapper.Limit) []wrapper.Limit {
	limits = slices.Clone(limits)
	for _, m := range most {
		i := slices.IndexFunc(limits, func(l wrapper.Limit) bool { return l.Name == m.Name })
		if i < 0 {
			limits = append(limits, m)
			continue
		}
		limits[i].Soft, limits[i].Hard = min(limits[i].Soft, m.Soft, m.Hard), min(limits[i].Hard, m.Hard)
	}
	return limits
}

// fileLimit returns the limit of open files that this process was started
// with. Go's runtime raises the soft limit for itself, and lowers it again for
// the children that package syscall starts. A wrapper's script is not one of these,
// and a program that uses select(2) must not get a higher limit than intended.
func fileLimit() (wrapper.Limit, error) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output()
	if err != nil {
		return wrapper.Limit{}, fmt.Errorf("limit of open files: %w", err)
	}
	l := wrapper.Limit{Name: "nofile"}
	for i, f := range strings.Fields(string(out)) {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			n = wrapper.Unlimited
		}
		*[]*uint64{&l.Soft, &l.Hard}[i%2] = n
	}
	return l, nil
}
