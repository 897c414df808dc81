package prose

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var date = regexp.MustCompile(`\b20\d\d([-/]\d\d[-/]|\d{4}T)\d\d|\d\d:\d\d(:\d\d)? ([A-Z]+ )?20\d\d\b`)

// TestDatesToCome checks the dates of examples in what users read: documentation, and the
// texts and comments of programs. When a date has passed, its example does something else:
// a job runs at once, a reservation is passed over. So the year of every date is 2099,
// unless dates.tsv has a reason.
func TestDatesToCome(t *testing.T) {
	var exceptions []*exception
	for _, row := range readTable(t, "dates.tsv", 3) {
		exceptions = append(exceptions, &exception{file: row[0], text: row[1]})
	}
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", "dist", "testdata", "test", "bench", "findings", "timeforms":
				return filepath.SkipDir
			}
			return nil
		}
		if !read(path) || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, p := range passages(name, data) {
			for i, line := range strings.Split(p.text, "\n") {
				for _, found := range date.FindAllString(line, -1) {
					seen++
					year := regexp.MustCompile(`20\d\d`).FindString(found)
					if year != "2099" && year != "2006" && !excepted(exceptions, name, line) { // 2006 is that of a layout
						t.Errorf("%s:%d: %s passes; write a date of 2099, or say in dates.tsv why it may pass", name, p.line+i, found)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d dates were seen", seen)
	}
	for _, e := range exceptions {
		if !e.used {
			t.Errorf("dates.tsv: no date is on a line of %s with %q: take the exception out", e.file, e.text)
		}
	}
}

// excepted reports whether a line of a file is one of the exceptions, which it marks.
func excepted(exceptions []*exception, file, line string) bool {
	for _, e := range exceptions {
		if e.file == file && strings.Contains(line, e.text) {
			e.used = true
			return true
		}
	}
	return false
}
