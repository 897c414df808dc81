package test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
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
