package device

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/internal/diag"
	"activationd/internal/fault"
)

//go:embed platforms/*.yaml
var builtIn embed.FS

// BuiltIn returns a platform that comes with the program. The kind of its error is
// [fault.NotFound].
func BuiltIn(name string) (Platform, error) {
	file := "platforms/" + name + ".yaml"
	data, err := builtIn.ReadFile(file)
	if err != nil || strings.ContainsAny(name, "/\\") {
		return Platform{}, fmt.Errorf("platform %q: those that come with the program are %s: %w",
			name, strings.Join(BuiltInNames(), ", "), fault.NotFound)
	}
	p, err := ParsePlatform(file, data)
	p.Name = name
	return p, err
}

// BuiltInNames returns the names that BuiltIn knows, sorted.
func BuiltInNames() []string {
	entries, _ := builtIn.ReadDir("platforms") // an embedded directory exists, or this would not compile
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// ParsePlatform reads the YAML of a platform strictly. Its error, of kind [fault.Invalid], has
// all faults, each with its line. The caller sets the Name.
func ParsePlatform(file string, data []byte) (Platform, error) {
	var p Platform
	faults := diag.List{File: file}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(&p)
	if types, ok := errors.AsType[*yaml.TypeError](err); ok {
		for _, text := range types.Errors {
			addYAML(&faults, text)
		}
		return Platform{}, faults.Err()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		addYAML(&faults, strings.TrimPrefix(err.Error(), "yaml: "))
		return Platform{}, faults.Err()
	}
	if err == nil && decoder.Decode(new(yaml.Node)) == nil {
		faults.Add(0, "has more than one document")
	}
	var root yaml.Node
	_ = yaml.Unmarshal(data, &root) // it was read once already; this is for the numbers of the lines
	_, bad := compile(p)
	for _, b := range bad {
		faults.Add(lineOf(&root, b.path), "%s: %s", strings.Join(b.path, "."), b.text)
	}
	return p, faults.Err()
}

func addYAML(faults *diag.List, text string) {
	var line int
	if _, err := fmt.Sscanf(text, "line %d: ", &line); err == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	faults.Add(line, "%s", text)
}

// lineOf returns the line of the last key of path that exists.
func lineOf(n *yaml.Node, path []string) int {
	line := 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range path {
		if n.Kind != yaml.MappingNode {
			return line
		}
		at := slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == key })
		if at < 0 || at+1 >= len(n.Content) {
			return line
		}
		line, n = n.Content[at].Line, n.Content[at+1]
	}
	return line
}
