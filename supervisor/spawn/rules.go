package spawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
	"activationd/internal/trust"
)

// Rules say whom a spawner serves, and what it does.
type Rules struct {
	Daemon    string   // the user whose processes may connect
	Users     []string // whom scripts may run as: names, patterns of path.Match, numbers
	At        bool     // also whom at.allow and at.deny permit
	AllowRoot bool     // also root
	Runs      []string // directories of runs, which are the daemon's
	Config    string   // where configuration directories are made, which is root's
	Kept      []string // where work directories are made, which are root's
	Listen    []string // addresses at which the spawner opens sockets: patterns of path.Match
}

// maxRules is the largest file of rules, in bytes.
const maxRules = 64 << 10

// ReadRules reads a file of rules, which nobody but root may be able to change.
func ReadRules(name string) (*Rules, error) {
	if err := trust.Check(name); err != nil {
		return nil, fmt.Errorf("the rules must be root's alone: %w: %w", err, fault.Invalid)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the rules: %w: %w", err, fault.OfFile(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxRules+1))
	if err != nil {
		return nil, fmt.Errorf("the rules: %w", err)
	}
	return ParseRules(name, data)
}

// ParseRules reads rules: lines "key: value", and lists, either "key: [a, b]" or a line "- a" for each
// element. It reports all that is wrong. A # at the beginning of a line or after a space begins a comment.
func ParseRules(file string, data []byte) (*Rules, error) {
	p := rulesParser{file: file, seen: map[string]bool{}}
	if len(data) > maxRules {
		return nil, fmt.Errorf("%s: more than %d bytes: %w", file, maxRules, fault.Invalid)
	}
	n := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		n++
		p.line(n, strings.TrimSuffix(line, "\r"))
	}
	p.check()
	if len(p.faults) > 0 {
		return nil, fmt.Errorf("%w: %w", errors.Join(p.faults...), fault.Invalid)
	}
	return &p.rules, nil
}

type rulesParser struct {
	file   string
	rules  Rules
	seen   map[string]bool
	list   *[]string // that lines with a - belong to
	faults []error
}

func (p *rulesParser) wrong(n int, format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s:%d: %s", p.file, n, fmt.Sprintf(format, args...)))
}

func (p *rulesParser) line(n int, line string) {
	if i := strings.Index(line, " #"); i >= 0 {
		line = line[:i]
	}
	text := strings.TrimRight(line, " ")
	trimmed := strings.TrimLeft(text, " ")
	if trimmed == "" || trimmed[0] == '#' {
		return
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		p.wrong(n, "a character that is none of text")
		return
	}
	if item, ok := strings.CutPrefix(trimmed, "- "); ok {
		if p.list == nil {
			p.wrong(n, "an element without a list before it")
			return
		}
		if v, ok := p.scalar(n, item); ok {
			*p.list = append(*p.list, v)
		}
		return
	}
	key, value, ok := strings.Cut(text, ":")
	if !ok || text != trimmed || value != "" && value[0] != ' ' {
		p.wrong(n, "want KEY: VALUE, have %q", text)
		return
	}
	value = strings.TrimSpace(value)
	if p.seen[key] {
		p.wrong(n, "%s is there twice", key)
		return
	}
	p.seen[key], p.list = true, nil
	r := &p.rules
	switch key {
	case "daemon":
		r.Daemon, _ = p.scalar(n, value)
	case "config":
		r.Config, _ = p.scalar(n, value)
	case "at":
		r.At = p.yes(n, value)
	case "allow_root":
		r.AllowRoot = p.yes(n, value)
	case "users":
		p.values(n, value, &r.Users)
	case "runs":
		p.values(n, value, &r.Runs)
	case "kept":
		p.values(n, value, &r.Kept)
	case "listen":
		p.values(n, value, &r.Listen)
	default:
		p.wrong(n, "there is no key %q; there are daemon, users, at, allow_root, runs, config, kept and listen", key)
	}
}

// scalar is one value, which may be in double quotes. Nothing is escaped.
func (p *rulesParser) scalar(n int, value string) (string, bool) {
	value = strings.TrimSpace(value)
	bare := value
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		bare = value[1 : len(value)-1]
		if strings.Contains(bare, `\`) {
			p.wrong(n, `no \ in a value: nothing is escaped`)
			return "", false
		}
	} else if value != "" && strings.ContainsAny(value[:1], "[]{}&!|>'%@`\",-?") {
		p.wrong(n, "%q: want a plain value, or one in double quotes", value)
		return "", false
	}
	if bare == "" || strings.Contains(bare, `"`) {
		p.wrong(n, "%q is no value", value)
		return "", false
	}
	return bare, true
}

func (p *rulesParser) values(n int, value string, list *[]string) {
	if value == "" {
		p.list = list
		return
	}
	inner, ok := strings.CutPrefix(value, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	if !ok || !ok2 {
		p.wrong(n, "want a list, have %q", value)
		return
	}
	if strings.TrimSpace(inner) == "" {
		return
	}
	for item := range strings.SplitSeq(inner, ",") {
		if v, ok := p.scalar(n, item); ok {
			*list = append(*list, v)
		}
	}
}

func (p *rulesParser) yes(n int, value string) bool {
	switch value {
	case "yes", "true":
		return true
	case "no", "false":
		return false
	}
	p.wrong(n, "want yes or no, have %q", value)
	return false
}

func (p *rulesParser) check() {
	r := &p.rules
	missing := func(format string, args ...any) { p.faults = append(p.faults, fmt.Errorf(p.file+": "+format, args...)) }
	if r.Daemon == "" {
		missing("daemon: which user is the daemon's?")
	}
	if len(r.Runs) == 0 || r.Config == "" {
		missing("runs and config: which directories may it touch?")
	}
	for _, dir := range slices.Concat(r.Runs, r.Kept, []string{r.Config}) {
		if dir != "" && (!filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/") {
			missing("%q: want an absolute path without . and ..", dir)
		}
	}
	for _, pattern := range slices.Concat(r.Users, r.Listen) {
		if _, err := path.Match(pattern, ""); err != nil {
			missing("%q is no pattern", pattern)
		}
	}
}

// An identity is a user as the system has it.
type identity struct {
	name     string
	uid, gid int
	groups   []int // with gid
}

// lookUp finds a user by number. One that the system does not know has the group of its number.
func lookUp(uid int) (id identity, err error) {
	id = identity{uid: uid, gid: uid, groups: []int{uid}}
	u, err := user.LookupId(strconv.Itoa(uid))
	if _, unknown := errors.AsType[user.UnknownUserIdError](err); unknown {
		return id, nil
	}
	if err != nil {
		return id, fmt.Errorf("user %d: %w: %w", uid, err, fault.Unavailable)
	}
	id.name = u.Username
	list, err := u.GroupIds()
	if err == nil {
		id.gid, err = strconv.Atoi(u.Gid)
	}
	id.groups = []int{id.gid}
	for _, g := range list {
		n, e := strconv.Atoi(g)
		id.groups, err = append(id.groups, n), errors.Join(err, e)
	}
	if err != nil {
		return id, fmt.Errorf("groups of user %s: %w: %w", id.name, err, fault.Unavailable)
	}
	return id, nil
}

// daemonID finds the daemon's user.
func (r *Rules) daemonID() (id identity, err error) {
	if n, err := strconv.ParseUint(r.Daemon, 10, 31); err == nil {
		return lookUp(int(n))
	}
	u, err := user.Lookup(r.Daemon)
	if err != nil {
		return id, fmt.Errorf("daemon: %w: %w", err, fault.Invalid)
	}
	n, err := strconv.Atoi(u.Uid)
	if err != nil {
		return id, err
	}
	return lookUp(n)
}

// The files by which at(1) knows its users.
const (
	atAllow = "/etc/at.allow"
	atDeny  = "/etc/at.deny"
)

// permits returns an error unless scripts may run as a user.
func (r *Rules) permits(id identity, daemon int) error {
	if id.uid == daemon {
		return nil
	}
	if id.uid == 0 {
		if r.AllowRoot {
			return nil
		}
		return fmt.Errorf("the spawner's rules do not let scripts run as root: %w", fault.Denied)
	}
	for _, pattern := range r.Users {
		if ok, err := path.Match(pattern, id.name); ok && err == nil && id.name != "" || pattern == strconv.Itoa(id.uid) {
			return nil
		}
	}
	if r.At && id.name != "" && atPermits(id.name, atAllow, atDeny) {
		return nil
	}
	return fmt.Errorf("the spawner's rules do not let scripts run as user %s (%d): %w", id.name, id.uid, fault.Denied)
}

// atPermits reports whether a user may use at(1).
func atPermits(name, allow, deny string) bool {
	data, err := os.ReadFile(allow)
	if err == nil {
		return slices.Contains(strings.Split(string(data), "\n"), name)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	data, err = os.ReadFile(deny)
	return err == nil && !slices.Contains(strings.Split(string(data), "\n"), name)
}

// DaemonUID returns the user whose processes may connect.
func (r *Rules) DaemonUID() (int, error) {
	id, err := r.daemonID()
	return id.uid, err
}
