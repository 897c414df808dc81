package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A Route is a path of HTTP at which a message can be pushed without the interface: the body of
// the request is that of the message. Path has variables, such as {queue}, of which Queue and
// Headers are made. The first route whose path is that of a request serves it.
type Route struct {
	Path    string            `yaml:"path"`
	Queue   string            `yaml:"queue"`
	Headers map[string]string `yaml:"headers"` // of the message
	Forward []string          `yaml:"forward"` // headers of the request that the message gets, too
	Create  bool              `yaml:"create"`  // create the queue if there is none

	pattern *regexp.Regexp // of an escaped path
}

// Push returns what a request for an escaped path pushes; ok is false if it is not for this route.
func (r *Route) Push(path string) (name string, headers map[string]string, ok bool) {
	if r.pattern == nil {
		return "", nil, false
	}
	found := r.pattern.FindStringSubmatch(path)
	if found == nil {
		return "", nil, false
	}
	var pairs []string
	for i, variable := range r.pattern.SubexpNames() {
		if variable == "" {
			continue
		}
		value, err := url.PathUnescape(found[i])
		if err != nil {
			return "", nil, false
		}
		pairs = append(pairs, "{"+variable+"}", value)
	}
	values := strings.NewReplacer(pairs...)
	headers = make(map[string]string, len(r.Headers))
	for header, text := range r.Headers {
		headers[header] = values.Replace(text)
	}
	return values.Replace(r.Queue), headers, true
}

var (
	routeVariable = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)
	routeText     = regexp.MustCompile(`^[A-Za-z0-9._~-]*$`)
	headerName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
)

// ownSegments are the first segments of the paths of HTTP that the daemon serves itself.
var ownSegments = []string{
	"api", "docs", "events", "healthz", "metrics", "openapi.json", "readyz", "version",
	"act", "activations", "audit", "book", "find", "locks", "login", "logout", "queues", "recurrences", "reports", "services", "settings", "static", "timeline", "vlans", // the panel
}

func (p *checker) checkRoutes() {
	for i := range p.Queues.Routes {
		r := &p.Queues.Routes[i]
		known := p.checkPath(r, p.Queues.Routes[:i])
		use := func(field any, text string) (rest string) {
			for _, variable := range routeVariable.FindAllString(text, -1) {
				if !slices.Contains(known, variable) && known != nil {
					p.wrong(field, "%s is not in path", variable)
				}
			}
			return routeVariable.ReplaceAllString(text, "x")
		}
		if r.Queue == "" {
			p.missing(r, &r.Queue, "queue", `the name of a queue, such as "{queue}"`)
		} else if rest := use(&r.Queue, r.Queue); !queueName.MatchString(rest) {
			p.wrong(&r.Queue, "%q cannot be the name of a queue: want letters, digits, ._- and variables of path, and a letter, a digit, _ or a variable first", r.Queue)
		}
		given := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			text := r.Headers[name]
			given[strings.ToLower(name)] = true
			at := entryOf(r.Headers, name)
			if use(at, text); !headerName.MatchString(name) {
				p.wrong(at, "want letters, digits, - and _")
			}
		}
		for i, name := range r.Forward {
			switch at := &r.Forward[i]; {
			case !headerName.MatchString(name):
				p.wrong(at, "%q is not the name of a header: want letters, digits, - and _", name)
			case given[strings.ToLower(name)]:
				p.wrong(at, "%s is there already", name)
			case slices.Contains([]string{"authorization", "cookie", "proxy-authorization"}, strings.ToLower(name)):
				p.wrong(at, "%s has a secret, which everybody could read who may see the message", name)
			}
			given[strings.ToLower(name)] = true
		}
	}
}

// checkPath checks and compiles the path of a route; before has the routes in front of it. It
// returns the variables; nil: they are not known.
func (p *checker) checkPath(r *Route, before []Route) (variables []string) {
	const want = `a path such as "/{service}-{queue}/{method}"`
	if r.Path == "" {
		p.missing(r, &r.Path, "path", want)
		return nil
	}
	wrong := func(format string, args ...any) []string {
		p.wrong(&r.Path, format, args...)
		return nil
	}
	segments := strings.Split(r.Path, "/")
	if segments[0] != "" || len(segments) < 2 {
		return wrong("want %s, have %q", want, r.Path)
	}
	variables = []string{}
	expr := strings.Builder{}
	for _, s := range segments[1:] {
		if s == "" || s == "." || s == ".." {
			return wrong("%q: no request has such a path, as clients and servers shorten it", r.Path)
		}
		expr.WriteByte('/')
		end := 0
		for _, at := range routeVariable.FindAllStringIndex(s, -1) {
			name := s[at[0]:at[1]]
			switch {
			case slices.Contains(variables, name):
				return wrong("%s is there twice", name)
			case at[0] == end && end > 0:
				return wrong("%s: something must be between it and the variable before it, such as a -", name)
			case !routeText.MatchString(s[end:at[0]]):
				return wrong("%q: want letters, digits, ._~- and variables in braces, such as {queue}", s)
			}
			expr.WriteString(regexp.QuoteMeta(s[end:at[0]]) + "(?P<" + strings.Trim(name, "{}") + ">[^/]+?)")
			variables, end = append(variables, name), at[1]
		}
		if !routeText.MatchString(s[end:]) {
			return wrong("%q: want letters, digits, ._~- and variables in braces, such as {queue}", s)
		}
		expr.WriteString(regexp.QuoteMeta(s[end:]))
	}
	switch under, below := strings.CutPrefix(r.Path, p.BasePath+"/"); {
	case slices.Contains(ownSegments, segments[1]):
		return wrong("what begins with /%s is the daemon's own", segments[1])
	case below && p.BasePath != "":
		return wrong("base_path (%s) comes before it anyway; write /%s", p.BasePath, under)
	}
	for i := range before {
		if other := &before[i]; coversPath(other.Path, r.Path) {
			return wrong("never used, as %s on line %d has all these paths and is first; put this route before that one", other.Path, p.places[other].Line)
		}
	}
	r.pattern = regexp.MustCompile("^" + expr.String() + "$")
	return variables
}

// coversPath reports whether the path a of a route is for all paths that b is for.
func coversPath(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !covers(routeVariable.ReplaceAllString(x[i], "?*"), routeVariable.ReplaceAllString(y[i], "?*")) {
			return false
		}
	}
	return true
}
