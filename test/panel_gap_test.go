package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"activationd/control"
)

// TestPanelGap looks at a page that has missed events which are not kept any more.
func TestPanelGap(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	d := newDaemon(t, "\nlisten_http: [{address: '127.0.0.1:0', role: operator}]\nhttp_hosts: [panel.test]\nevents: {count: 50}\n")
	d.Start()
	testGap(t, b, d)
}

// testGap keeps a browser from the daemon until the events that it has missed are gone: the page says
// so, shows what is there now, and follows the daemon again.
func testGap(t *testing.T, b *browser, d *daemon) {
	cut := newCutter(t, d.tcp())
	p := b.person(t, "http://panel.test:"+cut.port)
	p.open("/activations?kind=job")
	p.until(`document.querySelector("#live").textContent === "Live"`)
	eval[any](p, `(() => {
		globalThis.said = [];
		new MutationObserver(() => said.push(document.querySelector("#news").textContent)).observe(document.querySelector("#news"), {childList: true, characterData: true, subtree: true});
		return null;
	})()`)
	for { // until it has seen an event: a page can show its effect before
		first := d.add("--hold", "--label", "so that it has seen an event", "--", "true")
		p.until(`!!document.querySelector("#row-%s")`, first)
		cut.refuse(true)
		p.until(`document.querySelector("#live").textContent.startsWith("Reconnecting")`)
		if eval[bool](p, `document.querySelector("#live").textContent.includes("last change")`) {
			break
		}
		cut.refuse(false)
		p.until(`document.querySelector("#live").textContent === "Live"`)
	}
	id := d.add("--hold", "--label", "of which no event is left", "--", "true")
	d.await("its events are gone", func() bool {
		for n := range 100 {
			if _, _, err := control.Call[control.PublishOut](t.Context(), &d.Client, "publish", control.PublishIn{Topic: fmt.Sprintf("custom.gap.%d", n), Text: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := http.Get("http://" + d.tcp() + "/api/v1/events?newest=1000&id=" + id)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		return err == nil && r.StatusCode == http.StatusOK && !strings.Contains(string(text), `"what":"state"`)
	})
	cut.refuse(false)
	p.until(`said.includes("Some changes were missed; the page was loaded again.")`)
	p.until(`!!document.querySelector("#row-%s")`, id)
	next := d.add("--hold", "--label", "after the gap", "--", "true")
	p.until(`!!document.querySelector("#row-%s")`, next)
	if text := eval[string](p, `document.querySelector("#live").textContent`); text != "Live" {
		t.Errorf("after the gap the page says %q", text)
	}
}
