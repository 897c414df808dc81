package test

import (
	"fmt"
	"html"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// testLog looks at the log of a job while it is written: it opens at its end and stays there, unless
// somebody reads further up; the page does not grow without bounds; a line has an address.
func testLog(t *testing.T, b *browser, d *daemon, home string) {
	fifo := d.shared("log-of-the-panel")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	id := d.add("--", "sh", "-c", `seq 600; printf '\033[31mred\033[0m </script>\n'; cat `+fifo)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	p := b.person(t, home)
	p.login(operatorToken)
	p.open("/activations/" + id)
	const last = `document.querySelector(".lines").lastElementChild`
	p.until(`%s.innerText == "601red </script>" && %s.querySelector(".f1").innerText == "red"`, last, last)
	p.axe()
	if n := eval[int](p, `document.querySelector(".lines").childElementCount`); n != 500 {
		t.Errorf("the page shows %d lines at first", n)
	}
	const inView = `(() => { const box = document.querySelector(".log").getBoundingClientRect(), row = %s.getBoundingClientRect(); return row.top >= box.top && row.bottom <= box.bottom + 1; })()`
	if !eval[bool](p, inView, last) {
		t.Error("the log does not open at its end")
	}
	write("unfin")
	p.until(`%s.innerText == "602unfin"`, last)
	write("ished \x1b[32mgreen\n\x1b[1mstill \x07\n")
	p.until(`%s.innerText == "603still ^G"`, last)
	if got := eval[string](p, `%s.previousElementSibling.innerText + "|" + %s.querySelector("span").className`, last, last); got != "602unfinished green|bold f2" {
		t.Errorf("the lines before are %q", got)
	}
	if !eval[bool](p, inView, last) {
		t.Error("the log does not stay at its end")
	}
	const top = `document.querySelector("[id$='-2288']").getBoundingClientRect().top` // the line 600
	before := eval[float64](p, `(document.querySelector(".log").scrollTop = -300, %s)`, top)
	write(strings.Repeat("more\n", 50))
	p.until(`%s.innerText == "653more"`, last)
	if after := eval[float64](p, top); after < before-1 || after > before+1 {
		t.Errorf("what is read moves from %v to %v", before, after)
	}
	address := eval[string](p, `[...document.querySelectorAll(".lines > div")].find((row) => row.innerText == "602unfinished green").firstElementChild.getAttribute("href")`)
	write(strings.Repeat(strings.Repeat("x", 60)+"\n", 6000) + "end\n")
	p.until(`%s.innerText == "6654end"`, last)
	if n := eval[int](p, `document.querySelector(".lines").childElementCount`); n != 5000 {
		t.Errorf("the page has %d lines at last", n)
	}
	p.open(address)
	if got := eval[string](p, `document.querySelector(":target").innerText`); got != "602unfinished green" {
		t.Errorf("the address of a line leads to %q", got)
	}
	if !eval[bool](p, inView, `document.querySelector(":target")`) {
		t.Error("the line of an address is not in view")
	}
	p.open(fmt.Sprintf("/activations/%s?find=UNFIN", id))
	if got := eval[string](p, `document.querySelector(".lines").innerText + "|" + document.querySelector(".hit").innerText`); got != "602unfinished green|unfin" {
		t.Errorf("the search finds %q", got)
	}
	p.axe()
	p.open("/activations/" + id)
	p.until(`document.querySelector("#log-state[data-live]") != null`)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p.until(`!document.querySelector("#log-state[data-live]") && %s.innerText.endsWith("end")`, last)
	text := eval[string](p, `fetch(document.querySelector("#log a[href*='log.txt']").href).then((r) => r.text())`)
	if !strings.HasPrefix(text, "1\n2\n") || !strings.HasSuffix(text, "x\nend\n") {
		t.Errorf("as text, the log is %.20q ... of %d bytes", text, len(text))
	}
}

// TestPanelLargeLog opens a large log at its end, at other places and at a line that was found. Each time the daemon
// reads as little of it as it shows.
func TestPanelLargeLog(t *testing.T) {
	t.Parallel()
	size := 20 << 20
	if harness.All() {
		size = 1 << 30
	}
	d := newDaemon(t, httpConfig+"runs: {output: {head: 2GiB, tail: 0}}\n")
	d.Start()
	c := d.plainWeb()
	const line = 1024
	id := d.add("--", "sh", "-c", fmt.Sprintf(`yes "$(printf '%%01023d' 0)" | head -c %d; printf '</script>\007\n'`, size))
	d.InState(id, "finished")
	first := regexp.MustCompile(`<div id="activate\.1-(\d+)"`)
	for _, tt := range []struct {
		name, query string
		first       int // where the first line begins that is shown
		want        string
		most        int // how much of the log may be read
	}{
		{"at its end", "", size - 127*line, `&lt;/script&gt;^G</div>`, 300 << 10},
		{"in the middle", "at=50%25", size/2 - 15*line, fmt.Sprintf(`id="activate.1-%d"`, size/2), 300 << 10},
		{"at its beginning", "at=0", 0, `>1</a>`, 300 << 10},
		{"at a line", fmt.Sprintf("log=activate.1&at=%d", size-3*line), size - 18*line, fmt.Sprintf(`id="activate.1-%d"`, size-3*line), 300 << 10},
		{"a search", fmt.Sprintf("find=SCRIPT&at=%d", size-8<<20), size, `class="hit">script</span>`, 9 << 20},
		{"a search that is long", "find=xyzzy", -1, "No line has", 66 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, began := d.bytesRead(), time.Now()
			page := d.page(c, "/activations/"+id+"?"+tt.query, http.StatusOK)
			took, read := time.Since(began), d.bytesRead()-before
			if read > tt.most {
				t.Errorf("the daemon has read %d bytes, want at most %d", read, tt.most)
			}
			if harness.All() && tt.most < 1<<20 && took > time.Second {
				t.Errorf("the page took %v", took)
			}
			_, page, _ = strings.Cut(page, `id="log"`)
			at := -1
			if found := first.FindStringSubmatch(page); found != nil {
				at, _ = strconv.Atoi(found[1])
			}
			if at != tt.first || !strings.Contains(page, tt.want) || strings.Contains(page, "</script>\a") {
				t.Errorf("the first line is at %d, want %d, with %s:\n%.2000s", at, tt.first, tt.want, page)
			}
		})
	}
	if page := d.page(c, "/activations/"+id+"?at=x", http.StatusBadRequest); !strings.Contains(page, "a share of the output such as 50%") {
		t.Errorf("a wrong place is answered by %s", page)
	}
}

// TestPanelLogFollows asks, as the script of the page of an instance does, for what comes after the lines of the page.
func TestPanelLogFollows(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+`
services: {chat: {command: [sh, -c, 'printf "\033[32mup\n"; exec cat DIR/chat'], restart: always, backoff: {first: 10ms, max: 10ms}}}
`)
	fifo := d.dir + "/chat"
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	d.Start()
	c := d.plainWeb()
	says := func() (*os.File, func(text string)) {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f, func(text string) {
			t.Helper()
			if _, err := f.WriteString(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, say := says()
	say("how are ")
	d.await("its log has what it has written", func() bool { return strings.HasSuffix(d.must("log", "chat@1"), "how are ") })
	tail := regexp.MustCompile(`data-more="([^"]*)"`)
	row := regexp.MustCompile(`(?s)<div (?:id="serve\.(\d+-\d+)"( data-open)?><a [^>]*>(\S+)</a>|class="attempt">)(.*?)</div>`)
	next := "/services/chat@1"
	read := func(want ...string) {
		t.Helper()
		page := d.page(c, next, http.StatusOK)
		found := tail.FindStringSubmatch(page)
		if found == nil {
			t.Fatalf("%s has no address of what comes next:\n%s", next, page)
		}
		next = html.UnescapeString(found[1])
		var got []string
		for _, r := range row.FindAllStringSubmatch(page, -1) {
			got = append(got, strings.TrimSpace(r[1]+r[2]+" "+r[3]+" "+r[4]))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("it has the lines %q, want %q; it is\n%s", got, want, page)
		}
	}
	read(`1-0 1 <span class="f2">up</span>`, `1-8 data-open 2 <span class="f2">how are </span>`)
	say("you?\n\033[0mI ")
	read(`1-8 2 <span class="f2">how are you?</span>`, `1-21 data-open 3 I`)
	first := d.instances()["chat@1"].PID
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d.until("chat@1", "its second run", func(i control.ServiceInstance) bool { return i.PID != 0 && i.PID != first })
	_, say = says()
	read(`1-21 data-open 3 I`, `run 2`)
	read(`2-0 1 <span class="f2">up</span>`)
	say(strings.Repeat(strings.Repeat("x", 1023)+"\n", 2000) + "last\n")
	d.await("its log has all of it", func() bool { return strings.HasSuffix(d.must("log", "chat@1", "-n", "1"), "last") })
	page := d.page(c, next, http.StatusOK)
	if !strings.Contains(page, `class="gap"`) || !strings.Contains(page, "did not follow fast enough: 1872 KiB are left out") {
		t.Errorf("a page that is far behind gets %.600s", page)
	}
	for range 2 {
		page = d.page(c, html.UnescapeString(tail.FindStringSubmatch(page)[1]), http.StatusOK)
		if strings.Contains(page, ">last</div>") {
			return
		}
	}
	t.Errorf("after what was left out comes %.600s", page)
}

// bytesRead returns how many bytes the daemon has read, from anything.
func (d *daemon) bytesRead() int {
	d.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", d.Newest().Cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(data), "rchar: %d", &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}
