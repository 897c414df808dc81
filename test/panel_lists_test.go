package test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"activationd/control"
)

// TestPanelLists looks at the lists of a daemon that has something for each of them.
func TestPanelLists(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+`
lab: {inventory: DIR/inventory.yaml}
services:
  db: {command: [sleep, "1000"], groups: [data]}
  shop/web: {command: [sleep, "1000"], instances: 2}
  bad: {command: [sh, -c, 'printf "\033[31mno <b>key</b>\033[0m\n"; exit 7'], start_limit: {count: 1, window: 10m}}
  idle: {command: [sleep, "1000"], autostart: false}
listeners:
  - {queues: [bills], command: [sh, -c, 'printf "the <b>printer</b> is off"; exit 65']}
recurrences:
  - {name: nightly, cron: 30 3 * * *, command: ['true'], label: '<b>saved</b>'}
  - {name: often, every: 1h, command: [echo, pong]}
`)
	d.write("inventory.yaml", "pools: {brno: {ranges: [100-199, 300], exclude: [150]}}\ndevices: {}\n", 0o644)
	d.Start()
	c := d.plainWeb()
	d.must("vlan", "alloc", "brno:l1", "brno:l2", "--holder", "portal")
	d.must("vlan", "quarantine", "brno", "170", "--reason", "sw1 <b>still</b> has it")
	holder := d.add("--lock", "lab", "sleep", "1000")
	d.InState(holder, "activating")
	waiter := d.add("--lock", "lab", "true")
	d.InState(waiter, "waiting")
	d.await("the services run", func() bool {
		all := d.must("service", "list")
		return strings.Contains(all, "fatal") && strings.Count(all, " ready ") == 3
	})
	d.must("queue", "create", "bills", "lonely", "empty")
	bill := d.must("queue", "push", "bills", "--body", "<script>alert(1)</script>", "--header", "to=ada")
	d.must("queue", "push", "bills", "--body", "another")
	d.must("queue", "push", "lonely", "--body", "nobody listens")
	d.must("queue", "push", "lonely", "--body", "later", "--delay", "1h")
	d.untilQueue("bills", "full of dead letters", func(q *control.Queue) bool { return q.Dead == 2 })
	for _, tt := range []struct {
		name, path string
		want       []string // regular expressions, in their order
		not        string
	}{
		{"services", "/services", []string{
			`5 instances: 1 fatal, 3 ready, 1 down`, `id="instance-bad@1"`, `fatal`, `run 1 exited with status 7`, `/services/bad@1\?log=serve.1#log`,
			`id="service-shop/web"`, `2 of 2 ready`, `op=service&#43;restart`,
		}, `<b>key`},
		{"services that are not ready", "/services?show=troubled", []string{`id="instance-bad@1"`}, `instance-db@1|instance-idle@1`},
		{"services of a group", "/services?group=data", []string{`Remove the filter group data`, `instance-db@1`}, `bad@1`},
		{"services that do not match", "/services?match=nobody", []string{`No instance matches`, `Show all 5`}, `instance-`},
		{"later services", "/services?after=db", []string{`instance-idle@1`, `instance-shop_web@2`, `First page`}, `instance-(bad|db)`},
		{"an instance", "/services/bad@1", []string{`run 1`, `<span class="f1">no &lt;b&gt;key&lt;/b&gt;`, `exited, status 7`}, "\x1b"},
		{"an instance without a run", "/services/idle@1", []string{`down`, `>Start<`, `It has not run yet`}, `Stop`},
		{"a search in a log", "/services/bad@1?find=nothing", []string{`No line has`}, `class="f1"`},
		{"queues", "/queues", []string{
			`3 queues, with 1 message ready and 2 dead letters; 2 of them need attention`, `id="queue-bills"`, `served`, `state=dead`, `>2<`, `Retry dead letters…`,
			`id="queue-empty"`, `id="queue-lonely"`, `no listener`, `no entry of listeners matches`,
		}, ""},
		{"queues that need attention", "/queues?show=troubled&match=LONE", []string{`queue-lonely`}, `queue-bills|queue-empty`},
		{"later queues", "/queues?after=bills", []string{`queue-empty`, `queue-lonely`}, `queue-bills`},
		{"dead letters", "/queues/bills", []string{
			`Dead letters 2`, `id="message-` + bill + `"`, `exited with status 65`, `&lt;script&gt;alert`, `op=queue&#43;retry`, `op=queue&#43;purge`,
		}, `<script>alert`},
		{"a dead letter", "/queues/bills?message=" + bill, []string{`Message ` + bill, `dead`, `>to<`, `ada`, `alert\(1\)&lt;/script&gt;</pre>`, `the &lt;b&gt;printer`}, `<b>printer`},
		{"a message that is over", "/queues/bills?message=999999999", []string{`is not in the queue any more`}, ""},
		{"delayed messages", "/queues/lonely?state=delayed", []string{`Ready 1`, `Delayed 1`, `later`}, `nobody listens`},
		{"an empty queue", "/queues/empty", []string{`No message waits`}, `Dead letters…`},
		{"a question about all dead letters", "/act?op=queue+retry&name=bills", []string{`Try all dead letters of bills again\?`}, ""},
		{"a question about a dead letter", "/act?op=queue+purge&name=bills&dead=yes&id=" + bill, []string{`Remove message ` + bill + ` of bills\?`}, ""},
		{"events", "/events", []string{`data-topics="\*"`, `id="event-`, `queue dead`, `href="/queues/bills"`}, `<script>alert`},
		{"failures", "/events?show=failed", []string{`bad@1`, `run 1 exited with status 7`}, `queue created`},
		{"events of a topic", "/events?topic=queue.empty.*", []string{`Remove the filter topic`, `queue created`, `Older events are not stored, or do not match`}, `queue\.bills`},
		{"events that do not match", "/events?match=xyzzy", []string{`No event matches`, `Show all events`}, `event-`},
		{"older events", "/events?before=3", []string{`data-topics=""`, `Newest`}, `queue dead`},
		{"requests", "/audit", []string{`queue create`, `href="/queues/bills"`}, ""},
		{"requests of somebody else", "/audit?by=nobody", []string{`No request matches`}, `event-`},
		{"VLANs", "/vlans", []string{
			`1 pool: 97 free, 2 leased, 1 quarantined`, `id="pool-brno"`, `100-199,300, without 150`, `97 of 100 ids are free`, `>100</text>`, `>150</text>`, `>300</text>`,
			`id="vlan-brno-100"`, `portal`, `l1`, `id="vlan-brno-170"`, `sw1 &lt;b&gt;still`, `op=vlan&#43;free`,
		}, `<b>still`},
		{"VLANs in quarantine", "/vlans?state=quarantined", []string{`2 leased`, `vlan-brno-170`}, `vlan-brno-100`},
		{"VLANs of no pool", "/vlans?domain=olomouc", []string{`no pool of this name`}, `vlan-brno`},
		{"locks", "/locks", []string{`1 activation holds locks; 1 other waits`, `id="lock-` + holder + `"`, `holds`, `lab`, `<ol>`, `id="lock-` + waiter + `"`, `waits`}, ""},
		{"locks that do not match", "/locks?match=xyzzy", []string{`Nothing matches`}, `id="lock-`},
		{"a report", "/reports?of=jobs", []string{`Jobs by month`, `class="here"`, `aria-sort="descending"`, `id="used-root"`, `owner=root`, `data-th="jobs">1<`, `Total`}, ""},
		{"a report of tags", "/reports?by=tag&sort=name", []string{`>Tag<`, `id="used-"`, `none`}, ""},
		{"a report of a month in which nothing was", "/reports?month=2001-02&owner=ada", []string{`Remove the filter owner ada`, `Mar 2000`, `aria-current="true">Feb<`, `Nothing began in this month for this owner`}, `used-`},
		{"recurrences", "/recurrences", []string{`id="recurrence-nightly"`, `&lt;b&gt;saved`, `data-s="scheduled"`, `waiting`, `cron 30 3`, `every&#43;run|every run`, `id="recurrence-often"`, `every 1h<`}, `<b>saved`},
		{"recurrences by a command", "/recurrences?match=PONG", []string{`recurrence-often`}, `recurrence-nightly`},
		{"later recurrences", "/recurrences?after=nightly", []string{`recurrence-often`, `First page`}, `recurrence-nightly`},
		{"no recurrence", "/recurrences?match=xyzzy", []string{`No recurrence matches`, `Show all 2`}, `id="recurrence-`},
		{"a recurrence", "/recurrences/nightly", []string{`Coming times`, `03:30`, `None was skipped`, `in the configuration`, `every=nightly`}, `<b>saved`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rest := d.page(c, tt.path, http.StatusOK)
			if tt.not != "" {
				if found := regexp.MustCompile(tt.not).FindString(rest); found != "" {
					t.Errorf("%s has %q", tt.path, found)
				}
			}
			for _, want := range tt.want {
				at := regexp.MustCompile(want).FindStringIndex(rest)
				if at == nil {
					t.Fatalf("%s has no %s after what came before:\n%s", tt.path, want, rest)
				}
				rest = rest[at[1]:]
			}
		})
	}
	if n := strings.Count(d.page(c, "/recurrences/often", http.StatusOK), `id="coming-`); n != 10 {
		t.Errorf("the page of a recurrence has %d coming times, want 10", n)
	}
	d.press(c, "/recurrences", url.Values{"op": {"every hold"}, "name": {"often"}})
	if text := d.page(c, "/recurrences/often", http.StatusOK); !strings.Contains(text, "data-s=\"held\"") || !strings.Contains(text, "until you release it") {
		t.Errorf("after a recurrence was held its page is:\n%s", text)
	}
	d.press(c, "/recurrences", url.Values{"op": {"every run"}, "name": {"nightly"}})
	d.await("the job that was asked for has ended", func() bool {
		return regexp.MustCompile(`Ended so far</dt><dd>1 succeeded`).MatchString(d.page(c, "/recurrences/nightly", http.StatusOK))
	})
	d.page(c, "/recurrences/nothing", http.StatusNotFound)
	d.page(c, "/services/nothing@1", http.StatusNotFound)
	d.page(c, "/queues/nothing", http.StatusNotFound)
	if text := d.page(c, "/nothing", http.StatusNotFound); !strings.Contains(text, "There is no page at") {
		t.Errorf("where nothing is, a browser gets %s", text)
	}
	d.page(c, "/reports?month=soon", http.StatusBadRequest)
	d.press(c, "/queues/bills", url.Values{"op": {"queue purge"}, "name": {"bills"}, "dead": {"yes"}, "id": {bill}})
	if q := d.queueOf("bills"); q.Dead != 1 {
		t.Errorf("after one dead letter was removed there are %d", q.Dead)
	}
	if events := d.asked(c, http.MethodGet, "/events?newest=1", "", "Accept: */*"); !strings.HasPrefix(events.body, `{"seq":`) {
		t.Errorf("a program that asks for events gets %s", events.body)
	}
	d.press(c, "/vlans", url.Values{"op": {"vlan free"}, "domain": {"brno"}, "id": {"170"}})
	if left := d.must("vlan", "list"); strings.Contains(left, "170") {
		t.Errorf("after a VLAN was freed there are %s", left)
	}
	d.press(c, "/services", url.Values{"op": {"service start"}, "name": {"idle"}})
	if page := d.page(c, "/services/idle@1", http.StatusOK); strings.Contains(page, ">down<") {
		t.Errorf("a service that was started is down:\n%s", page)
	}
}

// press sends the form of a button.
func (d *daemon) press(c *http.Client, back string, form url.Values) {
	d.t.Helper()
	form.Set("back", back)
	r, err := c.PostForm("http://daemon/act", form)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode >= 400 {
		d.t.Fatalf("%v: %s", form, r.Status)
	}
}
