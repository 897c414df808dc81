package recurring

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A recurrence of the last release is read, with all fields of its job.
func TestRecurrencesOfTheLastRelease(t *testing.T) {
	text, err := os.ReadFile("testdata/recurrences.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		data := []byte(rest)
		var r, again Recurrence
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &again); err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%s: %v\n%+v, then\n%+v", name, err, r, again)
		}
		switch name {
		case "full":
			var was, is map[string]any
			if err := json.Unmarshal(data, &was); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(written, &is); err != nil {
				t.Fatal(err)
			}
			job := make(map[string]any) // its keys were written with the program's names
			for k, v := range was["job"].(map[string]any) {
				job[strings.ToLower(k)] = v
			}
			job["at_job"] = job["atjob"]
			delete(job, "atjob")
			was["job"] = job
			if !reflect.DeepEqual(was, is) {
				t.Errorf("was\n%v\nand is\n%v", was, is)
			}
		case "bytes":
			if r.Job.Argv[0] != "a\xff" || r.Job.Env["K"] != "v\xfc" {
				t.Errorf("%q, %q", r.Job.Argv, r.Job.Env)
			}
		}
	}
}
