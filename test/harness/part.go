package harness

import (
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Some tests have more cases than make test has time for. They try a part of them, which
// is another one in each run, or all of them if the variable ACTIVATIOND_TESTS is "all",
// as make test-all sets it. The variable ACTIVATIOND_SEED chooses the same part again.
// Both are variables because every package of a run would have to know a flag.

// All reports whether tests try everything.
func All() bool { return os.Getenv("ACTIVATIOND_TESTS") == "all" }

// Size returns few, or many if tests try everything.
func Size(few, many int) int {
	if All() {
		return many
	}
	return few
}

// Part returns few of all, in their order, or all of them if tests try everything.
func Part[T any](t testing.TB, all []T, few int) []T {
	t.Helper()
	if All() || few >= len(all) {
		return all
	}
	chosen := Random(t).Perm(len(all))[:few]
	slices.Sort(chosen)
	var part []T
	for _, i := range chosen {
		part = append(part, all[i])
	}
	return part
}

// Random returns random numbers and logs their seed.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("ACTIVATIOND_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("ACTIVATIOND_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Checks sets how often rapid tries a property: few times, or as often as it always
// does if tests try everything. TestMain calls it.
func Checks(few int) error {
	if All() {
		return nil
	}
	return preset("rapid.checks", few)
}

// Parallel sets how many tests run at once, for those that wait more than they
// compute. TestMain calls it.
func Parallel(n int) error { return preset("test.parallel", n) }

// preset sets a flag that is not given.
func preset(name string, n int) error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return nil
	}
	return flag.Set(name, strconv.Itoa(n))
}
