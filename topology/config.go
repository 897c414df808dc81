package topology

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/fault"
)

// A config is a node's startup-config: its text if it has several lines, or else the name of a
// file.
type config struct {
	inline string // the text; "" if it is a file
	line   int    // the line on which the text begins, or 0
	file   string
	own    bool  // the file's name contains the node's name, so each node has another file
	err    error // why it can't be read
}

// address matches what containerlab would download.
var address = regexp.MustCompile(`^(https?|s3|ftp|sftp|scp)://`)

// secret matches a user and password in an address.
var secret = regexp.MustCompile(`//[^/]*@`)

// config reads the startup-config of a node, or returns nil if there is none.
func (r *reader) config(node string, d definition) *config {
	if d.config == nil {
		return nil
	}
	v := document.Deref(d.config)
	c := &config{}
	if strings.Contains(v.Value, "\n") {
		c.inline = v.Value
		if v.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			c.line = v.Line + 1 // the line after | or >
		}
		return c
	}
	c.file = r.names(node).Replace(v.Value)
	c.own = c.file != v.Value
	switch {
	case address.MatchString(c.file):
		c.err = fmt.Errorf("startup-config: %.200s is downloaded by containerlab, but not here. Put the file into the topology's directory, and write its name",
			secret.ReplaceAllString(c.file, "//...@"))
	case strings.Contains(c.file, "__clabDir__"), strings.Contains(c.file, "__clabNodeDir__"):
		c.err = fmt.Errorf("startup-config: %.200s is in a directory that containerlab makes (__clabDir__, __clabNodeDir__), which does not exist here. Put the file into the topology's directory, and write its name", c.file)
	default:
		if why := r.placeholder(c.file); why != "" {
			c.err = fmt.Errorf("startup-config: %.200s: %s", c.file, why)
		}
	}
	return c
}

// text returns the whole configuration. It ends with a newline, as a single line would be
// taken for a name.
func (c *config) text(read func(name string) ([]byte, error)) (string, error) {
	if c.inline != "" || c.err != nil {
		return c.inline, c.err
	}
	data, err := read(c.file)
	switch {
	case err != nil:
		return "", fmt.Errorf("startup-config: %.200s cannot be read from the topology's directory (%s); put that file there, or the configuration itself here, under \"startup-config: |\"", c.file, plain(err))
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return "", fmt.Errorf("startup-config: %.200s is not plain text", c.file)
	}
	text := string(data)
	if !strings.Contains(text, "\n") {
		text += "\n"
	}
	return text, nil
}

// plain returns the text of an error without its kind.
func plain(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+string(fault.Of(err)))
}
