package test

import (
	"strings"
	"testing"
)

// filesScript leaves what atctl lab leaves, and what would harm a careless reader.
const filesScript = `cd "$ACTIVATION_CONFIG_DIR"
printf ' interface eth1\n- shutdown\n+ description <b>\n+username ada secret ***\n' >r1.diff
seq -f '+line %g' 20000 >r2.diff
printf 'a \033[31mred\033[0m </script>\007\n' >r1.transcript
echo 'username ada secret swordfish' >r1.conf
: >empty.transcript
ln -s /etc/passwd link.transcript
head -c 300000 /dev/zero | tr '\0' x | fold -w 99 >long.transcript
`

// TestPanelFiles looks at the files that a job has left: who may read which, that what they contain is text, and that
// no other file can be read.
func TestPanelFiles(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	d, home := newPanelDaemon(t)
	id := d.add("--", "sh", "-c", filesScript)
	d.InState(id, "finished")
	gone := d.add("--", "true")
	d.InState(gone, "finished")
	if got := d.must("files", id); strings.Count(got, "\n") != 6 || strings.Contains(got, "link") || !strings.Contains(got, "r1.conf") {
		t.Errorf("atctl files prints\n%s", got)
	}
	if got := d.must("files", id, "r1.conf"); got != "username ada secret swordfish" {
		t.Errorf("root reads %q", got)
	}
	for name, want := range map[string]string{"link.transcript": "not a regular file", "../spec": "cannot be the name", "none": "has a file"} {
		if o := d.atctl("files", id, name); o.status == 0 || !strings.Contains(o.err, want) {
			t.Errorf("%s: %d %s %s", name, o.status, o.out, o.err)
		}
	}
	p := b.person(t, home)
	p.login(operatorToken)
	p.open("/activations/" + id)
	p.until(`document.querySelector("#plan-r1[open] .plus b").textContent == "+" && document.querySelector("#plan-r1 .minus b").textContent == "−"`)
	if got := eval[string](p, `document.querySelector("#plan-r1 .lines").innerText`); !strings.Contains(got, "description <b>") || !strings.Contains(got, "secret ***") {
		t.Errorf("the difference is %q", got)
	}
	if got := eval[string](p, `[...document.querySelectorAll("#plan summary")].map((s) => s.innerText.replace(/\s+/g, " ")).join("|")`); !strings.Contains(got, "r1 +2 −1") || !strings.Contains(got, "r2 +") {
		t.Errorf("the summaries are %q", got)
	}
	if eval[bool](p, `document.querySelector("#plan-r2").open`) || !eval[bool](p, `document.querySelector("#plan-r2 a").textContent == "Show all of it"`) {
		t.Error("a long difference is open, or is shown as if it were whole")
	}
	if !eval[bool](p, `![...document.querySelectorAll("#files a")].some((a) => a.textContent == "r1.conf") && document.querySelector("#files").innerText.includes("may have secrets")`) {
		t.Error("an operator is offered a configuration with secrets")
	}
	p.axe()
	p.open("/activations/" + id + "/file?name=r1.transcript")
	if got := eval[string](p, `document.querySelector(".lines").innerText + document.querySelector(".lines .f1").innerText`); got != "1a red </script>^Gred" {
		t.Errorf("the transcript is shown as %q", got)
	}
	p.axe()
	p.open("/activations/" + id + "/file?name=long.transcript")
	if got := eval[string](p, `document.querySelector("main").innerText`); !strings.Contains(got, "This is the beginning") || len(got) > 300_000 {
		t.Errorf("a long file is shown with %d characters", len(got))
	}
	const get = `fetch("/activations/` + "%s" + `/download?name=" + encodeURIComponent("%s")).then(async (r) => [r.status, r.headers.get("Content-Disposition"), r.headers.get("X-Content-Type-Options"), r.headers.get("Content-Type"), (await r.blob()).size].join(" "))`
	for name, want := range map[string]string{
		"r1.transcript":    "200 attachment; filename=r1.transcript nosniff application/octet-stream 26",
		"long.transcript":  "200 attachment; filename=long.transcript nosniff application/octet-stream 303030",
		"empty.transcript": "200 attachment; filename=empty.transcript nosniff application/octet-stream 0",
	} {
		if got := eval[string](p, get, id, name); got != want {
			t.Errorf("the download of %s is %q, want %q", name, got, want)
		}
	}
	for name, status := range map[string]string{"r1.conf": "403", "link.transcript": "400", "../spec.diff": "400", "none.diff": "404"} {
		if got := eval[string](p, get, id, name); !strings.HasPrefix(got, status+" ") {
			t.Errorf("the download of %s is %q, want %s", name, got, status)
		}
	}
	p.open("/activations/" + gone)
	if got := eval[string](p, `document.querySelector("#files").innerText`); !strings.Contains(got, "no files") && !strings.Contains(got, "configuration directory") {
		t.Errorf("an activation without files says %q", got)
	}
	other := b.person(t, home)
	other.login(viewerToken)
	other.open("/activations/" + id)
	if got := eval[string](other, `document.querySelector("#files").innerText + document.querySelectorAll("#plan").length`); !strings.Contains(got, "belongs to") || !strings.HasSuffix(got, "0") {
		t.Errorf("a viewer sees %q", got)
	}
	if got := eval[string](other, get, id, "r1.transcript"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("a viewer's download is %q", got)
	}
}
